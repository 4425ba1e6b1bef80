"""Capture: guards one by one, and tensors that come in under two names."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import dtrain as dt
from dtrain.base.errors import TraceError
from dtrain.capture.capture import Guard, TwinGuard


def state(*numbers: float) -> dt.Tensor:
    return dt.tensor(list(numbers), dtype="f32")


# Guards ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "holds"), [(1, 1, True), (1, 2, False), (None, 0, False), ("a", "a", True)]
)
def test_a_guard_compares_values(before: object, after: object, holds: bool) -> None:
    owner = SimpleNamespace(mode=before)
    guard = Guard(owner, "mode", before)
    owner.mode = after
    assert guard.holds() is holds


def test_a_guard_compares_tensors_by_identity() -> None:
    owner = SimpleNamespace(scale=state(1))
    guard = Guard(owner, "scale", owner.scale)
    assert guard.holds()
    owner.scale = state(1)
    assert not guard.holds()


def test_a_guard_of_twins_looks_at_arrays() -> None:
    first = state(1)
    guard = TwinGuard(first, first.detach())
    assert guard.holds()
    first.array = first.array.copy()
    assert not guard.holds()


# One tensor, two names ------------------------------------------------------------------------------------------------


def test_a_changed_tensor_comes_in_one_way() -> None:
    w = dt.Parameter(np.ones(1, np.float32), name="w")

    def update(x):
        with dt.no_grad():
            w.assign_(w + x)

    def read_gradient(x):
        (x * 2).sum().backward()
        return w.grad

    def overwrite(x, y):
        with dt.no_grad():
            x.assign_(y + 1)
        return y

    def overwrite_read_outside(x):
        with dt.no_grad():
            x.assign_(w + 1)

    for function, arguments in (
        (update, [w]),
        (read_gradient, [w]),
        (overwrite, [w, w]),
        (overwrite_read_outside, [w]),
    ):
        with pytest.raises(TraceError, match="expected a tensor that it changes to come in one way, got w"):
            dt.trace(function)(*arguments)
    assert (w.tolist(), w.grad) == ([1], None)


def test_a_changed_tensor_comes_in_one_way_at_later_calls_too() -> None:
    w = state(1)
    update = dt.trace(lambda x: w.assign_(w + x))
    update(state(5))
    with pytest.raises(TraceError, match="to come in one way"):
        update(w)
    overwrite = dt.trace(lambda x, y: x.assign_(x + y))
    overwrite(state(1), state(2))
    with pytest.raises(TraceError, match="to come in one way"):
        overwrite(w, w)
    assert w.tolist() == [6]


def test_a_tensor_that_is_only_read_may_come_in_twice() -> None:
    w = state(3)
    assert dt.trace(lambda x, y: x * y + w)(w, w).tolist() == [12]
