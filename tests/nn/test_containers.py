"""Modules that hold modules."""

from __future__ import annotations

import pytest

from dtrain import nn


class Add(nn.Module):
    def __init__(self, amount: int) -> None:
        self.amount = amount

    def forward(self, x):
        return x + self.amount


def names(module):
    return [name for name, _ in module.named_children()]


def test_sequential_chains_and_names():
    chain = nn.Sequential(Add(1), Add(2)).append(Add(4))
    assert chain(0) == 7 and len(chain) == 3 and names(chain) == ["0", "1", "2"]
    assert chain[1].amount == 2 and chain["1"] is chain[1] and chain[-1].amount == 4
    assert chain[:2](0) == 3
    assert [module.amount for module in chain] == [1, 2, 4]
    chain[0] = Add(10)
    assert chain(0) == 16


def test_sequential_from_a_dict():
    chain = nn.Sequential({"first": Add(1), "second": Add(2)})
    assert chain(0) == 3 and names(chain) == ["first", "second"] and chain["second"].amount == 2


def test_module_list_behaves_like_a_list():
    modules = nn.ModuleList([Add(1), Add(2)])
    modules.append(Add(3)).extend([Add(4)]).insert(0, Add(0))
    assert [module.amount for module in modules] == [0, 1, 2, 3, 4] and len(modules) == 5
    assert modules[-1].amount == 4 and isinstance(modules[1:3], nn.ModuleList) and len(modules[1:3]) == 2
    modules[0] = Add(9)
    del modules[1:]
    assert names(modules) == ["0"] and modules[0].amount == 9


def test_module_dict_behaves_like_a_dict():
    modules = nn.ModuleDict({"a": Add(1)})
    modules["b"] = Add(2)
    assert list(modules) == list(modules.keys()) == names(modules) == ["a", "b"] and "b" in modules
    assert [module.amount for module in modules.values()] == [1, 2] and len(modules) == 2
    assert dict(modules.items())["b"] is modules["b"]
    del modules["a"]
    assert names(modules) == ["b"]


def test_state_goes_through_containers():
    net = nn.Module()
    net.layers = nn.ModuleList([nn.Linear(2, 3), nn.ModuleDict({"x": nn.Linear(3, 1, bias=False)})])
    assert list(net.state_dict()) == ["layers.0.weight", "layers.0.bias", "layers.1.x.weight"]


@pytest.mark.parametrize(
    "make", [lambda: nn.Sequential(Add(1), len), lambda: nn.ModuleList([3]), lambda: nn.ModuleDict({"a": None})]
)
def test_only_modules_are_taken(make):
    with pytest.raises(TypeError, match="expected modules, got "):
        make()


@pytest.mark.parametrize("key", [1, "", "a.b"])
def test_keys_of_a_dict_must_be_names(key):
    with pytest.raises(TypeError, match="a string without dots as key"):
        nn.ModuleDict({key: Add(1)})


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda child: nn.Sequential(Add(1), child), "1"),
        (lambda child: nn.Sequential({"x": child}), "x"),
        (lambda child: nn.ModuleList([child]), "0"),
        (lambda child: nn.ModuleDict({"k": child}), "k"),
    ],
)
def test_children_can_be_replaced(make, name):
    child, new = Add(5), Add(6)
    owner = make(child)
    owner.replace_child(name, new)
    children = dict(owner.named_children())
    assert children[name] is new and child not in children.values()
