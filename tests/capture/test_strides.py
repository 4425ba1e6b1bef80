"""Views of tensors that lie in any order: a write reaches what it reaches eagerly, or the trace refuses it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import Tensor
from dtrain.base.errors import ShapeError, TraceError
from dtrain.kernels.views import VIEWS

SHAPE = (4, 6)
numbers = np.random.default_rng(3).normal(size=96).astype(np.float32)

# The same shape in four orders of memory: of fresh numbers, and of what ops have computed from a tensor in order.
Lay = Callable[[Tensor], Tensor]
ORDERS: dict[str, tuple[Callable[[], Tensor], Lay]] = {
    "in order": (lambda: dt.tensor(numbers[:24].reshape(SHAPE)), lambda x: x * 1),
    "transposed": (lambda: dt.tensor(numbers[:24].reshape(6, 4)).T, lambda x: (x.reshape(6, 4) * 1).T),
    "gap in rows": (lambda: dt.tensor(numbers[:48].reshape(4, 12))[:, ::2], lambda x: F.concat([x, x], 1)[:, ::2]),
    "gap between rows": (lambda: dt.tensor(numbers[:32].reshape(4, 8))[:, 1:7], lambda x: F.concat([x, x], 1)[:, 3:9]),
    "expanded": (lambda: dt.tensor(numbers[:6]).expand(SHAPE), lambda x: (x[0] * 1).expand(SHAPE)),
}
# By op: calls that may show their input or copy it.
MAY_COPY: Mapping[str, dict[str, Lay]] = {
    "reshape": {
        "contiguous": lambda x: x.contiguous(),
        "reshape(-1)": lambda x: x.reshape(-1),
        "reshape": lambda x: x.reshape(3, 8),
        "flatten": lambda x: x.flatten(),
        "ravel": lambda x: x.ravel(),
        "view": lambda x: x.view(-1),
        "unflatten": lambda x: x.unflatten(1, (2, 3)).flatten(0, 1),
        "transposed, contiguous": lambda x: x.T.contiguous(),
        "transposed, reshaped": lambda x: x.T.reshape(8, 3),
        "part, flattened": lambda x: x[1:3].flatten(),
        "reshaped twice": lambda x: x.reshape(2, 12).T.reshape(-1),
        "contiguous, flattened": lambda x: x.contiguous().flatten(),
        "twin, contiguous": lambda x: x.detach().contiguous(),
        "twin of a view, flattened": lambda x: x.T.detach().T.flatten(),
    }
}
CALLS = {name: call for calls in MAY_COPY.values() for name, call in calls.items()}
WRITES: dict[str, Callable[[Tensor, Tensor], object]] = {
    "nothing": lambda x, y: None,
    "the result": lambda x, y: y.add_(1),
    "a part of the result": lambda x, y: y[1:].mul_(3),
    "the source": lambda x, y: x.add_(1),
    "a part of the source": lambda x, y: x[1:, 2:].mul_(3),
    "both": lambda x, y: (y.add_(1), x.mul_(2)),
}

WRITES_OF_SOURCE = ("the source", "a part of the source", "both")
CALLS_IN_TURN = [*ORDERS, "in order"]


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """The numbers of the results, or the error."""
    try:
        return [tensor.tolist() for tensor in function(*arguments)]
    except (ShapeError, TraceError, RuntimeError) as error:
        return error


def expect_same(eager: Any, traced: Any, tensors: list[tuple[Tensor, Tensor]], *, may_refuse: bool) -> None:
    """Both gave the same numbers and left the same ones behind, or both refused, or the trace where it may."""
    if isinstance(traced, Exception):
        assert isinstance(eager, Exception) or (may_refuse and isinstance(traced, TraceError)), traced
        return
    assert traced == eager
    for first, second in tensors:
        assert first.tolist() == second.tolist()


def shows(call: Lay, x: Tensor) -> bool:
    """Whether the call shows its input."""
    try:
        return np.shares_memory(call(x).numpy(), x.numpy())
    except ShapeError:
        return False


def test_the_calls_are_those_of_all_rows_that_may_copy() -> None:
    assert MAY_COPY.keys() == {name for name, row in VIEWS.items() if row.may_copy is not None}


def read_after(call: str, write: str, x: Tensor) -> tuple[Tensor, ...]:
    y = CALLS[call](x)
    WRITES[write](x, y)
    return x * 1, y * 1


def leave(call: str, write: str, x: Tensor) -> tuple[Tensor, ...]:
    WRITES[write](x, CALLS[call](x))
    return ()


def may_refuse(call: str, write: str, x: Tensor) -> bool:
    """Views that are read after a write into what they show, and all that concerns detached views and is written."""
    writes = set(WRITES) - {"nothing"} if "twin" in call else WRITES_OF_SOURCE
    return write in writes and shows(CALLS[call], x)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("call", CALLS)
def test_of_arguments(call: str, write: str) -> None:
    for function in (read_after, leave) if write in WRITES_OF_SOURCE else (read_after,):
        traced = dt.trace(function)
        for order in CALLS_IN_TURN:  # one traced function for all of them
            make, _ = ORDERS[order]
            x, other = make(), make()
            refuses = may_refuse(call, write, make()) and (function is read_after or "twin" in call)
            eager = outcome(function, call, write, x)
            expect_same(eager, outcome(traced, call, write, other), [(x, other)], may_refuse=refuses)
        if write == "nothing" and call != "view":
            assert len(traced.graphs) == 1  # no number depends on the order


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("call", CALLS)
def test_of_states(call: str, write: str) -> None:
    states = {"eager": dt.zeros(SHAPE), "traced": dt.zeros(SHAPE)}

    def step(which: str) -> tuple[Tensor, ...]:
        return read_after(call, write, states[which])

    traced = dt.trace(step)
    for order in CALLS_IN_TURN:
        make, _ = ORDERS[order]
        for state in states.values():
            state.data = make()  # the same tensor, in another order
        eager, refuses = outcome(step, "eager"), may_refuse(call, write, make())
        both = [(states["eager"], states["traced"])]
        expect_same(eager, outcome(traced, "traced"), both, may_refuse=refuses)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("order", ORDERS)
def test_of_what_the_function_makes(order: str, write: str) -> None:
    make, lay = ORDERS["in order"][0], ORDERS[order][1]

    def step(call: str, x: Tensor) -> tuple[Tensor, ...]:
        return read_after(call, write, lay(x))

    traced = dt.trace(step)
    for call in CALLS:
        x = make()
        refuses = may_refuse(call, write, lay(x))
        expect_same(outcome(step, call, x), outcome(traced, call, x), [(x, make())], may_refuse=refuses)


@pytest.mark.parametrize("order", ["in order", "transposed", "gap between rows"])
def test_views_from_outside_and_what_they_show(order: str) -> None:
    """A view and what it shows are two states: writes into one that reach the other are refused, if nothing else."""
    for call, write in itertools.product(("contiguous", "flatten", "transposed, reshaped"), WRITES):
        x, other = ORDERS[order][0](), ORDERS[order][0]()
        view, other_view = x.T, other.T

        def step(x: Tensor, view: Tensor, call: str = call, write: str = write) -> tuple[Tensor, ...]:
            y = CALLS[call](view)
            WRITES[write](x, y)
            return (y * 1,)

        eager = outcome(step, x, view)
        traced = outcome(dt.trace(lambda step=step, other=other, other_view=other_view: step(other, other_view)))
        refuses = write in WRITES_OF_SOURCE or (shows(CALLS[call], x.T) and write != "nothing")
        expect_same(eager, traced, [(x, other), (view, other_view)], may_refuse=refuses)


def test_python_is_told_how_each_argument_lies() -> None:
    traced = dt.trace(lambda x: x + 1 if x.is_contiguous() else x - 1)
    x = dt.ones((2, 2))
    assert [traced(y).sum().item() for y in (x, x.T, x, x.T)] == [8, 0, 8, 0]
    assert len(traced.graphs) == 2


def test_a_write_elsewhere_needs_no_other_capture() -> None:
    total = dt.zeros(4)

    @dt.trace
    def step(x: Tensor, y: Tensor) -> None:
        total.add_(x.flatten())
        y.mul_(2)

    x, y = dt.tensor([[1.0, 2.0], [3.0, 4.0]]), dt.ones((2, 2))
    step(x, y)
    step(x.T, y.T)
    assert total.tolist() == [2, 5, 5, 8]
    assert y.sum().item() == 16
    assert len(step.graphs) == 1


def test_the_gradient_that_a_leaf_holds_now_lies_as_it_does() -> None:
    for is_traced in (False, True):
        w = dt.Parameter(np.ones((2, 2), np.float32))

        def step(w: Any = w) -> None:
            w.grad.contiguous().add_(1)

        run = dt.trace(step) if is_traced else step
        found = []
        for gradient in (dt.ones((2, 2)), dt.ones((2, 2)).T, dt.ones((2, 2))):
            w.grad = gradient
            run()
            found.append(w.grad.sum().item())
        assert found == [8, 4, 8]


def test_a_write_into_a_detached_argument_reaches_the_caller() -> None:
    x = dt.ones((2, 3))
    dt.trace(lambda x: x.detach().T.add_(1) * 0)(x)
    assert x.tolist() == [[2, 2, 2], [2, 2, 2]]


def test_repeated_elements_are_not_written() -> None:
    state = dt.ones(3)
    state.data = dt.ones(1).expand(3)
    for function, arguments in ((lambda: state.add_(1), ()), (lambda x: x.add_(1), (state,))):
        with pytest.raises(RuntimeError, match=r"writable memory.*whose elements are repeated"):
            dt.trace(function)(*arguments)
    assert state.tolist() == [1, 1, 1]
