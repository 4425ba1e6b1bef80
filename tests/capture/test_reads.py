"""What a traced function read besides tensors: whatever changes from outside, a call is as eager execution."""

from __future__ import annotations

import copy
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn, optim
from dtrain.capture.watched import Watched
from dtrain.nn.replacement import replace_modules


def x() -> dt.Tensor:
    return dt.tensor(np.linspace(-1, 2, 12, dtype=np.float32).reshape(3, 4))


@dataclass
class Config:
    slope: float = 0.5
    powers: tuple[int, ...] = (1, 2)


class Net(nn.Module):
    bias = 0.25

    def __init__(self) -> None:
        self.first = nn.Linear(4, 4)
        self.norm = nn.BatchNorm1d(4)
        self.act = nn.LeakyReLU(0.1)
        self.function: Callable[..., Any] = F.sigmoid
        self.rates = [0.5, [0.25]]
        self.table = {"gain": 2.0, "offsets": deque([1.0])}
        self.config = Config()
        self.options = SimpleNamespace(power=2, flags={"a"})
        self.parts = [nn.Linear(4, 4), nn.Identity()]
        self.chain = nn.Sequential(nn.Linear(4, 4), nn.Identity())
        self.listed = nn.ModuleList([nn.Linear(4, 4), nn.Identity()])
        self.named = nn.ModuleDict({"a": nn.Linear(4, 4)})
        self.register_buffer("running", dt.ones((4,)))
        self._hidden = 3.0
        self.nothing = None

    @property
    def hidden(self) -> float:
        return self._hidden

    def helper(self, y: Any) -> Any:
        return y + self.rates[0] + self.rates[1][0]

    def forward(self, y: Any) -> Any:
        y = self.act(self.norm(F.linear(y, self.first.weight, self.first.bias)))
        y = self.helper(self.function(y) * self.hidden + self.bias)
        y = y * self.table["gain"] + sum(self.table["offsets"]) + self.running
        y = y * self.config.slope + sum(self.config.powers) + (len(self.options.flags) + 1) ** self.options.power
        for part in [*self.parts, self.chain, *self.listed, *self.named.values()]:
            y = part(y)
        if self.nothing is not None:
            y = y * self.nothing
        if hasattr(self, "extra"):
            y = y + self.extra
        return y + sum(p.sum() for p in self.named["a"].parameters())


def _linear() -> nn.Linear:
    return nn.Linear(4, 4)


def _set(path: str, value: Any) -> Callable[[Net], None]:
    def change(net: Net) -> None:
        *way, last = path.split(".")
        owner: Any = net
        for name in way:
            owner = getattr(owner, name)
        setattr(owner, last, value() if callable(value) and value is not F.tanh else value)

    return change


def _call(act: Callable[[Net], Any]) -> Callable[[Net], None]:
    return act


CHANGES: dict[str, Callable[[Net], Any]] = {
    "slope of an activation": _set("act.negative_slope", 0.9),
    "eps of a norm": _set("norm.eps", 0.5),
    "momentum of a norm": _set("norm.momentum", 0.9),
    "mode of one layer": _set("norm.training", False),
    "mode of all": lambda net: net.eval(),
    "a parameter of a layer that is not called": _set("first.weight", lambda: dt.Parameter(dt.eye(4))),
    "a parameter taken away": lambda net: setattr(net.listed[0], "bias", None),
    "a buffer": _set("running", lambda: dt.full((4,), 5.0)),
    "a child": _set("first", _linear),
    "another kind of child": _set("act", nn.Tanh),
    "a function": _set("function", F.tanh),
    "a value behind a property": _set("_hidden", 7.0),
    "a value that was None": _set("nothing", 4.0),
    "an attribute that was not there": _set("extra", 4.0),
    "an attribute deleted": lambda net: delattr(net, "_hidden") or setattr(net, "_hidden", 8.0),
    "a class attribute shadowed": _set("bias", 9.0),
    "a method replaced on the instance": lambda net: setattr(net, "helper", lambda y: y * 3),
    "forward replaced on a child": lambda net: setattr(net.act, "forward", lambda y: y * 3),
    "an item of a list": lambda net: net.rates.__setitem__(0, 6.0),
    "an item of a nested list": lambda net: net.rates[1].__setitem__(0, 6.0),
    "an item of a dict": lambda net: net.table.update(gain=6.0),
    "a deque in a dict": lambda net: net.table["offsets"].append(6.0),
    "a field of a dataclass": lambda net: setattr(net.config, "slope", 6.0),
    "a tuple in a dataclass": lambda net: setattr(net.config, "powers", (1, 2, 3)),
    "a field of a namespace": lambda net: setattr(net.options, "power", 3),
    "a set in a namespace": lambda net: net.options.flags.add("b"),
    "a module in a list": lambda net: net.parts.__setitem__(0, _linear()),
    "a module added to a list": lambda net: net.parts.append(nn.Tanh()),
    "a module taken from a list": lambda net: net.parts.pop(0),
    "an item of a Sequential": lambda net: net.chain.__setitem__(1, nn.Tanh()),
    "a module added to a Sequential": lambda net: net.chain.append(nn.Tanh()),
    "an item of a ModuleList": lambda net: net.listed.__setitem__(0, _linear()),
    "a module added to a ModuleList": lambda net: net.listed.append(nn.Tanh()),
    "a module inserted in a ModuleList": lambda net: net.listed.insert(0, nn.Tanh()),
    "a module deleted from a ModuleList": lambda net: net.listed.__delitem__(0),
    "an item of a ModuleDict": lambda net: net.named.__setitem__("a", _linear()),
    "a module added to a ModuleDict": lambda net: net.named.__setitem__("b", nn.Tanh()),
    "a child replaced by name": lambda net: net.replace_child("parts.0", _linear()),
    "modules replaced everywhere": lambda net: replace_modules(
        net, lambda module: nn.Tanh() if type(module) is nn.Identity else None
    ),
    "a hook": lambda net: net.act.register_forward_hook(lambda module, given, out: out * 2),
    "a hook before": lambda net: net.act.register_forward_pre_hook(lambda module, given: (given[0] * 2,)),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_after_a_trace_is_seen(what):
    dt.seed(3)
    net = Net()
    step = dt.trace(lambda y: net(y))
    before = step(x())
    twin = copy.deepcopy(net)
    dt.seed(4)
    CHANGES[what](net)
    dt.seed(4)
    CHANGES[what](twin)
    found, wanted = [step(x()) for _ in range(2)], [twin(x()) for _ in range(2)]
    for one, other in zip(found, wanted):
        assert np.array_equal(one.numpy(), other.numpy())
    assert len(step.graphs) == 2
    if what != "momentum of a norm":  # which changes the running statistics only
        assert not np.array_equal(before.numpy(), found[0].numpy())
    assert np.array_equal(net.norm.running_mean.numpy(), twin.norm.running_mean.numpy())


@pytest.mark.parametrize(
    "change",
    [
        lambda net: setattr(net, "unread", 3),
        lambda net: setattr(net.named["a"], "unread", 3),
        lambda net: setattr(net.named["a"], "losses", [1.0]),
        lambda net: net.train(),
        lambda net: setattr(net, "_hidden", 3.0),
        lambda net: net.act.register_forward_hook(lambda *given: None).remove(),
        lambda net: setattr(net, "config", net.config),
        lambda net: net.running.fill_(3.0),
        lambda net: net.eval() and net.train(),
        lambda net: setattr(nn.Linear(2, 2), "in_features", 5),
        lambda net: setattr(net.first.weight, "data", dt.zeros((4, 4))),
    ],
)
def test_what_was_not_read_or_is_as_before_captures_nothing_again(change):
    net = Net()
    step = dt.trace(lambda y: net(y))
    step(x())
    change(net)
    twin = copy.deepcopy(net)
    assert np.array_equal(step(x()).numpy(), twin(x()).numpy())
    assert len(step.graphs) == 1


@pytest.mark.parametrize("base", [nn.Module, Watched])
def test_an_attribute_that_is_deleted_is_a_change(base):
    class Gained(base):
        gain = 2.0

    thing = Gained()
    thing.gain, thing.offset = 3.0, 1.0
    traced = dt.trace(lambda y: y * thing.gain + getattr(thing, "offset", 0.0))
    assert traced(dt.tensor([1.0])).item() == 4
    del thing.gain
    assert traced(dt.tensor([1.0])).item() == 3
    del thing.offset
    assert traced(dt.tensor([1.0])).item() == 2


def test_both_captures_are_kept():
    net = Net()
    step = dt.trace(lambda y: net(y))
    for _ in range(3):
        net.train()
        step(x())
        net.eval()
        step(x())
    assert len(step.graphs) == 2


MODULES: list[tuple[nn.Module, str, Any]] = [
    (nn.Dropout(0.5), "p", 0.0),
    (nn.LeakyReLU(0.1), "negative_slope", 0.3),
    (nn.ELU(1.0), "alpha", 2.0),
    (nn.LayerNorm(4), "eps", 1.0),
    (nn.GroupNorm(2, 4), "eps", 1.0),
    (nn.BatchNorm1d(4), "eps", 1.0),
    (nn.Softmax(1), "axis", 0),
]


@pytest.mark.parametrize(("module", "name", "value"), MODULES, ids=lambda value: type(value).__name__)
def test_settings_of_modules(module, name, value):
    module = copy.deepcopy(module)
    step = dt.trace(lambda y: module(y))
    before = step(x())
    assert hasattr(module, name)
    setattr(module, name, value)
    after = step(x())
    assert np.array_equal(after.numpy(), module(x()).numpy()) and not np.array_equal(after.numpy(), before.numpy())


# Classes, optimizers --------------------------------------------------------------------------------------------------


def test_attributes_of_user_classes():
    class Scaled(nn.Module):
        factor = 2.0

        def forward(self, y):
            return y * self.factor

    module = Scaled()
    step = dt.trace(lambda y: module(y))
    assert step(dt.ones(1)).item() == 2
    Scaled.factor = 3.0
    assert step(dt.ones(1)).item() == 3


def test_methods_and_modules_as_traced_functions():
    class Scaled(nn.Module):
        def __init__(self):
            self.factor = 2.0

        @dt.trace
        def run(self, y):
            return y * self.factor

        def forward(self, y):
            return y * self.factor

    module = Scaled()
    whole = dt.trace(module)
    assert module.run(dt.ones(1)).item() == whole(dt.ones(1)).item() == 2
    module.factor = 3.0
    assert module.run(dt.ones(1)).item() == whole(dt.ones(1)).item() == 3


def test_optimizers():
    def train(traced: bool) -> list[float]:
        p = dt.Parameter(np.array([1.0, -2.0], np.float32))
        optimizer = optim.SGD([p], lr=0.1, momentum=0.5)
        optimizer.scale = 1.0

        def step(y):
            optimizer.zero_grad()
            ((p * y).square().sum() * optimizer.scale).backward()
            optimizer.step()

        run = dt.trace(step) if traced else step
        for name, value in (("lr", 0.2), ("momentum", 0.9), ("weight_decay", 0.3), ("nesterov", True)):
            run(dt.ones(2))
            optimizer.param_groups[0][name] = value
        run(dt.ones(2))
        optimizer.scale = 3.0
        run(dt.ones(2))
        extra = dt.Parameter(np.array([5.0], np.float32))
        optimizer.add_param_group({"params": [extra]})
        run(dt.ones(2))
        return p.tolist()

    assert train(True) == train(False)


def test_numbers_of_other_kinds_are_other_numbers():
    module = nn.Identity()
    module.number = 1
    step = dt.trace(lambda y: y * module.number)
    for value, dtype in ((1, "s64"), (1.0, "f32"), (True, "s64"), (np.nan, "f32"), (np.nan, "f32")):
        module.number = value
        assert step(dt.tensor([2])).dtype.tag == dtype
    assert len(step.graphs) == 4


# What happens once ----------------------------------------------------------------------------------------------------


def test_what_the_function_changes_itself_happens_once_and_captures_nothing_again():
    class Counted(nn.Module):
        def __init__(self):
            self.calls, self.outputs, self.mask = 0, [], None

        def forward(self, y):
            self.calls += 1
            self.outputs.append(y)
            if self.mask is None:
                self.mask = "made"
            return y * 2

    module, seen = Counted(), []

    @dt.trace
    def step(y):
        seen.append(1)
        return module(y)

    for size in (1, 2, 1, 2, 1):
        assert step(dt.ones(size)).tolist() == [2] * size
    assert (module.calls, len(module.outputs), len(seen), len(step.graphs)) == (2, 2, 2, 2)


def test_reads_are_seen_only_while_capturing():
    assert "__getattribute__" not in vars(Watched)
    inside = []
    module = nn.Linear(2, 2)

    @dt.trace
    def step(y):
        inside.append("__getattribute__" in vars(Watched))
        other = threading.Thread(target=lambda: inside.append(module.in_features))
        other.start()
        other.join()
        return y

    step(dt.ones(1))
    assert inside == [True, 2] and "__getattribute__" not in vars(Watched)
    with pytest.raises(ZeroDivisionError):
        dt.trace(lambda y: y / (1 // 0))(dt.ones(1))
    assert "__getattribute__" not in vars(Watched)


def test_another_type_of_a_state_is_another_capture():
    net = nn.Linear(4, 4)
    step = dt.trace(lambda y: net(y))
    step(x())
    net.to("f64")
    assert step(x()).type is net(x()).type and step(x()).dtype is dt.float64
    net.to("f32")
    assert np.array_equal(step(x()).numpy(), net(x()).numpy()) and len(step.graphs) == 2
    net.weight.data, net.bias.data = dt.ones((2, 4)), dt.zeros((2,))
    assert np.array_equal(step(x()).numpy(), net(x()).numpy()) and len(step.graphs) == 3
