"""trace: what is cached, what is guarded, what a capture changes, and what it refuses."""

from __future__ import annotations

import threading
from typing import NamedTuple

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.base.errors import TraceError


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# Caching --------------------------------------------------------------------------------------------------------------


def counted(function):
    """The traced function and a list that grows with every capture."""
    captures: list[int] = []

    def wrapper(*args, **kwargs):
        captures.append(1)
        return function(*args, **kwargs)

    return dt.trace(wrapper), captures


def test_one_capture_per_types() -> None:
    double, captures = counted(lambda x: x * 2)
    for shape in ((2,), (3,), (2,), (2, 1)):
        assert double(dt.ones(shape)).shape == shape
    double(dt.ones(2, dtype="f64"))
    double(dt.ones(2))
    assert len(captures) == 4
    assert len(double.graphs) == 4


def test_static_arguments_are_part_of_the_key() -> None:
    scale, captures = counted(lambda x, by, *, add=0: x * by + add)
    x = dt.tensor([1.0, -2.0])
    assert scale(x, 2).tolist() == [2, -4]
    assert scale(x, 3).tolist() == [3, -6]
    assert scale(x, 2, add=1).tolist() == [3, -3]
    assert scale(x, by=2).tolist() == [2, -4], "positional and keyword are different keys"
    assert scale(x, 2).tolist() == [2, -4]
    assert len(captures) == 4


@pytest.mark.parametrize(("first", "second"), [(1, True), (1, 1.0), (0.0, -0.0), (0, False)], ids=str)
def test_equal_values_of_other_kinds_are_captured_apart(first, second) -> None:
    seen = []
    note, _ = counted(lambda x, value: (seen.append(value), x + 0)[1])
    for value in (first, second, first, second):
        note(dt.ones(1), value)
    assert [(type(value), str(value)) for value in seen] == [(type(v), str(v)) for v in (first, second)]


def test_nan_is_one_value() -> None:
    note, captures = counted(lambda x, value: x + 0)
    for _ in range(3):
        note(dt.ones(1), float("nan"))
    assert len(captures) == 1


def test_unhashable_arguments_are_refused() -> None:
    with pytest.raises(TraceError, match="traced function f: expected tensors and hashable values as arguments"):

        @dt.trace
        def f(x, options):
            return x

        f(dt.ones(1), {1, 2})


def test_whether_gradients_flow_is_part_of_the_key() -> None:
    double, captures = counted(lambda x: x * 2)
    double(dt.ones(2))
    double(dt.ones(2).requires_grad_())
    with dt.no_grad():
        double(dt.ones(2))
    double(dt.ones(2))
    assert len(captures) == 3


def test_many_values_are_warned_about_once() -> None:
    scale = dt.trace(lambda x, by: x * by)
    with pytest.warns(UserWarning, match="pass what changes at every call as a tensor") as caught:
        for number in range(70):
            scale(dt.ones(1), number)
    assert len(caught) == 1
    assert caught[0].filename == __file__


def test_threads_have_captures_of_their_own() -> None:
    double, captures = counted(lambda x: x * 2)
    double(dt.ones(2))
    results: list = []
    thread = threading.Thread(target=lambda: results.append(double(dt.ones(2)).tolist()))
    thread.start()
    thread.join()
    assert results == [[2, 2]]
    assert len(captures) == 2


# Arguments and results ------------------------------------------------------------------------------------------------


class Pair(NamedTuple):
    left: object
    right: object


@pytest.mark.parametrize(
    "result",
    [
        lambda x: None,
        lambda x: x,
        lambda x: (x, 3, "text", None, True, 1.5),
        lambda x: [x, (x + 1,), []],
        lambda x: {"a": x, "b": {"c": [x * 2]}},
        lambda x: Pair(x, [x + 1]),
    ],
)
def test_results_keep_their_structure(result) -> None:
    x = dt.tensor([1.0, 2.0])

    def plain(value):
        if isinstance(value, dt.Tensor):
            return value.tolist()
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, tuple | list):
            items = [plain(item) for item in value]
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        return value

    for _ in range(2):
        assert plain(dt.trace(result)(x)) == plain(result(x))


def test_arguments_may_be_nested() -> None:
    @dt.trace
    def total(batch, *, extra):
        return batch["x"] * batch["sizes"][1] + extra[0].left

    batch = {"x": dt.tensor([1.0]), "sizes": [dt.tensor([5.0]), dt.tensor([7.0])]}
    assert total(batch, extra=(Pair(dt.tensor([100.0]), 0),)).tolist() == [107]


def test_numpy_arguments_are_tensors() -> None:
    double, captures = counted(lambda x: x * 2)
    assert double(np.array([1.0, 2.0], np.float32)).tolist() == [2, 4]
    assert double(np.array([3.0, 4.0], np.float32)).tolist() == [6, 8]
    assert double(dt.tensor([5.0, 6.0])).tolist() == [10, 12]
    assert len(captures) == 1


@pytest.mark.parametrize("make", [lambda a: a.T, lambda a: a[::2, ::-1], lambda a: np.broadcast_to(a[:1], a.shape)])
def test_arguments_with_gaps(make) -> None:
    array = make(values(6, 6))
    got = dt.trace(lambda x: F.exp(x) @ x.T)(array)
    x = dt.tensor(array)
    assert got.numpy().tobytes() == (F.exp(x) @ x.T).numpy().tobytes()


def test_results_are_not_overwritten_by_the_next_run() -> None:
    double = dt.trace(lambda x: (x * 2, x))
    first, same = double(dt.tensor([1.0]))
    double(dt.tensor([5.0]))
    assert first.tolist() == [2]
    assert same.tolist() == [1]


def test_a_result_of_another_kind_is_refused() -> None:
    with pytest.raises(TraceError, match="expected a result of tensors, numbers, tuples, lists and dicts, got <object"):
        dt.trace(lambda x: object())(dt.ones(1))


def test_methods_bind_and_show_their_graphs() -> None:
    class Scaler:
        def __init__(self, by: float) -> None:
            self.by = by

        @dt.trace
        def run(self, x):
            """Scale."""
            return x * self.by

    two, three = Scaler(2), Scaler(3)
    assert two.run(dt.ones(1)).tolist() == [2]
    assert three.run(dt.ones(1)).tolist() == [3]
    assert two.run(dt.ones(1)).tolist() == [2]
    assert len(two.run.graphs) == 2
    assert Scaler.run.__name__ == "run"
    assert two.run.__doc__ == "Scale."


def test_a_traced_function_inside_another_becomes_part_of_it() -> None:
    inner = dt.trace(lambda x: x * 2)
    outer = dt.trace(lambda x: inner(x) + 1)
    assert outer(dt.tensor([3.0])).tolist() == [7]
    assert inner.graphs == []
    assert [node.op.name for node in outer.graphs[0].nodes if node.op.name != "constant"] == ["mul", "add"]


# Arguments that change ------------------------------------------------------------------------------------------------


def test_an_argument_overwritten_inside_is_overwritten_outside() -> None:
    @dt.trace
    def bump(x):
        x.assign_(x + 1)
        return x * 10

    x = dt.tensor([1.0])
    assert bump(x).tolist() == [20]
    assert bump(x).tolist() == [30]
    assert x.tolist() == [3]
    assert x.version == 2


def test_gradients_of_arguments_are_added_outside() -> None:
    def step(x):
        loss = (x * x).sum()
        loss.backward()
        return loss

    eager, traced = (dt.tensor([1.0, 2.0], requires_grad=True) for _ in range(2))
    step_traced = dt.trace(step)
    for _ in range(3):
        step(eager)
        step_traced(traced)
    assert traced.grad.tolist() == eager.grad.tolist() == [6, 12]
    assert len(step_traced.graphs) == 1


def test_gradients_of_arguments_may_be_set_anew() -> None:
    @dt.trace
    def step(x):
        x.grad = None
        (x * 3).sum().backward()

    x = dt.tensor([1.0], requires_grad=True)
    step(x)
    step(x)
    assert x.grad.tolist() == [3]


def test_backward_cannot_leave_the_function_through_an_argument() -> None:
    @dt.trace
    def step(x):
        (x * 3).sum().backward()

    inner = dt.tensor([1.0], requires_grad=True) * 2
    with pytest.raises(TraceError, match=r"arguments without a history.*computed by mul outside; compute it inside"):
        step(inner)


# Guards ---------------------------------------------------------------------------------------------------------------


def test_a_changed_mode_is_captured_anew_and_both_are_kept() -> None:
    class Layer(dt.nn.Module):
        def forward(self, x):
            return x * 2 if self.training else x

    layer = Layer()
    run, captures = counted(lambda x: layer(x))
    x = dt.ones(1)
    for training, wanted in ((True, 2), (False, 1), (True, 2), (False, 1)):
        layer.train(training)
        assert run(x).tolist() == [wanted]
    assert len(captures) == 2


def test_a_frozen_parameter_is_noticed() -> None:
    w = dt.Parameter(np.ones(1, np.float32))
    other = dt.Parameter(np.ones(1, np.float32))
    step, captures = counted(lambda: (w * other).sum().backward())
    step()
    assert w.grad is not None
    w.grad = other.grad = None
    w.requires_grad = False
    step()
    assert w.grad is None
    assert other.grad.tolist() == [1]
    assert len(captures) == 2


def test_a_hook_added_later_is_noticed() -> None:
    w = dt.Parameter(np.ones(1, np.float32))

    @dt.trace
    def step():
        w.grad = None
        (w * 3).sum().backward()

    step()
    remove = w.register_grad_hook(lambda g: g * 10)
    step()
    assert w.grad.tolist() == [30]
    remove()
    step()
    assert w.grad.tolist() == [3]
    assert len(step.graphs) == 2


def test_what_changes_at_every_call_is_warned_about() -> None:
    class Counter(dt.nn.Module):
        def forward(self, x):
            return x * 2

    layer = Counter()
    run = dt.trace(lambda x: layer(x))
    with pytest.warns(UserWarning, match="was captured 8 times for the same input types") as caught:
        for _ in range(20):
            layer.register_forward_hook(lambda module, args, output: output + 1)
            run(dt.ones(1))
    assert len(caught) == 1
    assert len(run.graphs) == 8, "old captures are given up"
