"""The module tree: names, state, modes, hooks, moving."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from dtrain.base.dtype import float64
from dtrain.base.errors import DtypeError, ShapeError
from dtrain.capture.trace import trace
from dtrain.core.tensor import Parameter, Tensor, wrap
from dtrain.nn.linear import Linear
from dtrain.nn.module import LoadResult, Module


def parameter(*shape: int, value: float = 0.0) -> Parameter:
    return Parameter(np.full(shape, value, np.float32))


class Norm(Module):
    def __init__(self, value: float = 0.0):
        self.weight = parameter(3, value=value)
        self.register_buffer("running", wrap(np.zeros(3, np.float32)))
        self.register_buffer("cache", wrap(np.zeros(3, np.float32)), persistent=False)

    def forward(self, x):
        return x


class Inner(Module):
    def __init__(self):
        self.bn = Norm()

    def forward(self, x):
        return x


class Nested(Module):
    def __init__(self):
        self.bn_flags = {True: 1, False: 0}
        self.a = [Norm(), {"x": Norm(), "y": (Norm(), Inner())}, (Inner(),)]
        self.bn = Norm()
        self.name = "not a module"
        self.plain = wrap(np.zeros(2, np.float32))


EXPECTED = ["a.0", "a.1.x", "a.1.y.0", "a.1.y.1", "a.1.y.1.bn", "a.2.0", "a.2.0.bn", "bn"]


def test_modules_in_lists_dicts_and_tuples_have_dotted_names():
    assert [name for name, _ in Nested().named_modules()] == ["", *EXPECTED]
    assert [name for name, _ in Nested().named_modules("net")] == ["net", *(f"net.{name}" for name in EXPECTED)]
    assert [name for name, _ in Nested().named_children()] == ["a.0", "a.1.x", "a.1.y.0", "a.1.y.1", "a.2.0", "bn"]


def test_only_parameters_and_registered_buffers_are_state():
    net = Nested()
    norms = [name for name, module in net.named_modules() if isinstance(module, Norm)]
    assert [name for name, _ in net.named_parameters()] == [f"{name}.weight" for name in norms]
    assert [name for name, _ in net.named_buffers()] == [f"{n}.{b}" for n in norms for b in ("running", "cache")]
    assert list(net.state_dict()) == [f"{n}.{b}" for n in norms for b in ("weight", "running")]


@pytest.mark.parametrize("value", [wrap(np.zeros(1, np.float32)), Inner()])
def test_a_tensor_under_a_key_that_is_no_string_is_refused_when_assigned(value):
    with pytest.raises(AssertionError, match="keys for Tensor and Module must be str, error key: True"):
        Module().a = {True: value, False: 0}


def test_a_bad_key_added_later_is_refused_when_the_tree_is_read():
    net = Module()
    net.a = {}
    net.a[7] = Inner()
    with pytest.raises(AssertionError, match="error key: 7"):
        list(net.parameters())


def test_shared_parameters_are_listed_once_and_saved_under_both_names():
    net = Module()
    net.first = net.second = parameter(2, value=1.0)
    assert [name for name, _ in net.named_parameters()] == ["first"]
    assert list(net.state_dict()) == ["first", "second"]
    assert net.state_dict()["first"].array is net.first.array


def test_a_module_in_two_places_counts_once_but_is_saved_twice():
    net = Module()
    net.one = Inner()
    net.two = net.one
    assert len(list(net.modules())) == 3
    assert list(net.state_dict()) == ["one.bn.weight", "one.bn.running", "two.bn.weight", "two.bn.running"]


def test_load_state_dict_overwrites_in_place():
    source, target = Norm(3.0), Norm(0.0)
    array = target.weight.array
    assert target.load_state_dict(source.state_dict()) == LoadResult([], [])
    assert target.weight.array is array
    np.testing.assert_array_equal(array, [3, 3, 3])
    assert target.weight.requires_grad


def test_load_state_dict_takes_arrays():
    target = Norm()
    target.load_state_dict({"weight": np.arange(3, dtype=np.float32), "running": np.ones(3, np.float32)})
    np.testing.assert_array_equal(target.weight.numpy(), [0, 1, 2])


def test_load_state_dict_lists_names_that_do_not_fit():
    with pytest.raises(KeyError, match=r"1 missing \(running\), 1 unexpected \(other\).*strict=False"):
        Norm().load_state_dict({"weight": np.zeros(3, np.float32), "other": np.zeros(3, np.float32)})


def test_load_state_dict_can_be_lenient_about_names():
    target = Norm()
    result = target.load_state_dict({"weight": np.ones(3, np.float32), "other": np.zeros(3)}, strict=False)
    assert result == LoadResult(["running"], ["other"])
    np.testing.assert_array_equal(target.weight.numpy(), [1, 1, 1])


@pytest.mark.parametrize("strict", [True, False])
def test_load_state_dict_changes_nothing_when_one_shape_differs(strict):
    target = Norm(5.0)
    with pytest.raises(ShapeError, match=r"running of shape \(3,\), got \(4,\)"):
        target.load_state_dict({"weight": np.zeros(3, np.float32), "running": np.zeros(4, np.float32)}, strict=strict)
    np.testing.assert_array_equal(target.weight.numpy(), [5, 5, 5])


def test_load_state_dict_refuses_another_dtype():
    with pytest.raises(DtypeError, match="weight of dtype f32, got f64"):
        Norm().load_state_dict({"weight": np.zeros(3), "running": np.zeros(3, np.float32)})


def test_train_calls_the_train_method_of_every_child():
    class Observer(Module):
        enabled = True

        def train(self, mode=True):
            self.enabled = mode
            return super().train(mode)

    net = Module()
    net.children_list = [Observer(), Inner()]
    net.eval()
    assert not net.training and not net.children_list[0].enabled and not net.children_list[1].bn.training
    net.train()
    assert net.children_list[0].enabled and net.children_list[1].bn.training


def test_hooks_see_and_replace_arguments_and_outputs():
    seen = []

    class Double(Module):
        def forward(self, x):
            seen.append(x)
            return 2 * x

    module = Double()
    remove_pre = module.register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    remove_post = module.register_forward_hook(lambda module, args, output: output * 10)
    assert module(1) == 40 and seen == [2]
    remove_pre()
    assert module(1) == 20
    remove_post()
    assert module(1) == 2


def test_forward_must_be_defined():
    with pytest.raises(NotImplementedError, match="Module: expected a module that defines forward"):
        Module()(1)


def test_buffers_and_parameters_check_what_they_are_given():
    with pytest.raises(TypeError, match="a plain tensor for 'b', got Parameter"):
        Module().register_buffer("b", parameter(1))
    with pytest.raises(TypeError, match="a Parameter for 'w', got Tensor"):
        Module().register_parameter("w", wrap(np.zeros(1)))
    with pytest.raises(ValueError, match=r"a name without dots, got 'a\.b'"):
        Module().register_parameter("a.b", None)


def test_a_replaced_buffer_stays_a_buffer():
    net = Norm()
    net.running = wrap(np.ones(3, np.float32))
    assert net.state_dict()["running"].array is net.running.array
    net.running = None
    assert "running" not in net.state_dict()


def test_apply_visits_children_first():
    order = []
    net = Inner()
    net.apply(lambda module: order.append(type(module).__name__))
    assert order == ["Norm", "Inner"]


def test_get_module():
    net = Nested()
    assert net.get_module("a.1.y.1.bn") is net.a[1]["y"][1].bn
    with pytest.raises(KeyError, match=r"a module named 'b'.*'a\.0'"):
        net.get_module("b")


def test_zero_grad_and_requires_grad():
    net = Norm()
    net.weight.grad = wrap(np.ones(3, np.float32))
    net.zero_grad()
    assert net.weight.grad is None
    assert not net.requires_grad_(False).weight.requires_grad


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_shares_nothing(clone):
    net = Nested()
    other = clone(net)
    other.bn.weight.array[...] = 9
    assert list(other.state_dict()) == list(net.state_dict())
    np.testing.assert_array_equal(net.bn.weight.numpy(), [0, 0, 0])
    assert isinstance(other.bn.weight, Parameter) and other.bn.weight.type is net.bn.weight.type


def test_to_casts_floating_tensors_in_place():
    net = Norm(2.0)
    net.register_buffer("count", wrap(np.zeros((), np.int64)))
    weight = net.weight
    weight.grad = wrap(np.ones(3, np.float32))
    assert net.to("f64") is net
    assert net.weight is weight and weight.dtype is float64 and weight.grad.dtype is float64
    assert net.running.dtype is float64 and net.count.dtype.tag == "s64"
    assert isinstance(weight, Tensor) and weight.requires_grad


def test_repr_shows_the_tree():
    assert repr(Inner()) == "Inner(\n  (bn): Norm()\n)"


@pytest.mark.parametrize("name", ["bn", "a.0", "a.1.x", "a.1.y.0", "a.2.0"])
def test_a_child_anywhere_can_be_replaced(name):
    net, new = Nested(), Inner()
    names = [known for known, _ in net.named_children()]
    net.replace_child(name, new)
    assert dict(net.named_children())[name] is new
    assert [known for known, _ in net.named_children()] == names


def test_only_children_can_be_replaced():
    with pytest.raises(KeyError, match=r"a child named 'a\.1\.y\.1\.bn', got 'a\.0', "):
        Nested().replace_child("a.1.y.1.bn", Inner())


def test_a_hook_added_after_a_capture_is_seen():
    class Double(Module):
        def forward(self, x):
            return x * 2

    module = Double()
    run = trace(lambda x: module(x))
    assert run(wrap(np.ones(1))).item() == 2
    remove = module.register_forward_hook(lambda module, args, output: output + 1)
    assert run(wrap(np.ones(1))).item() == 3
    remove()
    assert run(wrap(np.ones(1))).item() == 2 and len(run.graphs) == 2


class Joined(Module):
    def __init__(self, **members):
        for name, value in members.items():
            setattr(self, name, value)


@pytest.mark.parametrize(
    "members",
    [
        {"d": {"a.b": Linear(1, 1), "a": {"b": Linear(1, 1)}}},
        {"d": {"0.x": parameter(1)}, "d.0": {"x": parameter(1)}},
        {"d": [{"x": parameter(1)}], "d.0.x": parameter(1)},
    ],
    ids=["dicts", "attribute with a dot", "list index"],
)
def test_two_places_of_one_name_are_no_state(members):
    with pytest.raises(ValueError, match=r"Joined\.state_dict: expected a name for each tensor, got two places named"):
        Joined(**members).state_dict()
    shared = Linear(1, 1)
    assert len(Joined(first=shared, second=shared).state_dict()) == 4


def test_containers_of_plain_tensors_are_nobodys_business():
    class Cached(Module):
        def __init__(self):
            self.weight = Parameter([1.0])
            self.cache = {}
            self.history = [{(0, 1): wrap(np.ones(2))}, (wrap(np.ones(1)),)]
            self.lookup = {3: [wrap(np.zeros(3))], None: {2.5: wrap(np.zeros(1))}}

        def forward(self, x):
            return x * self.cache.setdefault(x.shape[0], wrap(np.full(x.shape, 2.0))) * self.weight

    net = Cached()
    net(wrap(np.ones(4)))
    net.lookup = dict(net.lookup)
    assert [name for name, _ in net.named_parameters()] == ["weight"] == list(net.state_dict())
    assert net.eval().training is False and list(net.buffers()) == [] and len(list(net.modules())) == 1
    net.to("f16")
    assert net.cache[4].dtype.tag == "f64" and net.weight.dtype.tag == "f16"


def test_a_container_that_holds_itself():
    net, around = Module(), [Parameter([1.0])]
    around.append(around)
    net.around = around
    assert [name for name, _ in net.named_parameters()] == ["around.0"]


@pytest.mark.parametrize("key", [1, None, (0, 1), True])
def test_parameters_need_a_name(key):
    with pytest.raises(AssertionError, match="keys for Tensor and Module must be str"):
        Module().a = {"x": [{key: Parameter([1.0])}]}
