"""A state whose type changes while its array keeps the shape: other layouts, other scales. Eager and traced agree."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn
from dtrain.base.element import quantized
from dtrain.base.errors import TraceError
from dtrain.base.tensor_type import tensor_type
from dtrain.core.tensor import Tensor

NUMBERS = np.arange(16, dtype=np.float32).reshape(2, 2, 2, 2)  # every layout without padding has this array shape
OTHER = NUMBERS * 3 + 1


def laid(numbers: np.ndarray, layout: str) -> Tensor:
    return dt.tensor(numbers).relayout(layout)


def scaled(scale: float, array: np.ndarray | None = None) -> Tensor:
    integers = np.arange(4, dtype=np.int8) if array is None else array
    return Tensor(integers, tensor_type((4,), quantized("s8", scale, 3)))


def expect_as_eager(function: Callable[[], Tensor], change: Callable[[], None]) -> None:
    """The traced function gives what `function` gives, before and after the change, and in a second run of it."""
    traced = dt.trace(function)
    for step in (lambda: None, change, lambda: None):
        step()
        expected, given = function(), traced()
        assert given.type is expected.type
        assert given.array.tobytes() == expected.array.tobytes()
    assert len(traced.graphs) == 2


@pytest.mark.parametrize(("first", "second"), [("NHWC", "NCHW"), ("NCHW", "NHWC"), ("NHWC", "NHWC")])
def test_another_layout_is_another_capture(first: str, second: str) -> None:
    state = laid(NUMBERS, first)
    traced = dt.trace(lambda: state * 2)
    traced()
    for layout, numbers in ((second, OTHER), (first, NUMBERS)):
        state.data = laid(numbers, layout)
        assert traced().type is state.type
        np.testing.assert_array_equal(traced().numpy(), numbers * 2)
    assert len(traced.graphs) == len({first, second})


def test_what_reads_plain_numbers_refuses_a_layout_as_eagerly() -> None:
    state = dt.tensor(NUMBERS)
    traced = dt.trace(lambda: state.sum((1,)))
    traced()
    state.data = laid(OTHER, "NHWC")
    with pytest.raises(dt.errors.LayoutError, match="no rule for NHWC"):
        traced()
    state.data = dt.tensor(OTHER)
    np.testing.assert_array_equal(traced().numpy(), OTHER.sum(1))


def test_another_scale_is_another_capture() -> None:
    state = scaled(0.5)
    expect_as_eager(lambda: state[1:], lambda: setattr(state, "data", scaled(0.25)))


def test_the_same_integers_at_another_scale() -> None:
    state = scaled(0.5)
    expect_as_eager(lambda: state[1:], lambda: setattr(state, "data", scaled(0.25, state.array)))
    assert state.type is scaled(0.25).type


def test_numbers_that_left_a_state_are_those_of_its_type() -> None:
    state = laid(NUMBERS, "NHWC")

    def second() -> Tensor:
        return dt.ones(1) * state.tolist()[0][0][0][1]

    expect_as_eager(second, lambda: setattr(state, "data", Tensor(state.array, tensor_type((2, 2, 2, 2), dt.float32))))


def test_updates_go_home_in_the_order_of_the_new_layout() -> None:
    state = laid(NUMBERS, "NHWC")

    @dt.trace
    def add(x: Tensor) -> None:
        state.add_(x.relayout(state.type.layout))

    add(dt.tensor(NUMBERS))
    state.data = dt.tensor(OTHER)
    add(dt.tensor(NUMBERS))
    np.testing.assert_array_equal(state.numpy(), OTHER + NUMBERS)
    assert state.type.is_plain


def test_gradients_have_the_layout_of_the_parameter() -> None:
    weight = nn.Parameter(dt.tensor(NUMBERS))

    @dt.trace
    def step() -> None:
        (weight * weight).relayout("NCHW").sum().backward()

    step()
    assert weight.grad.type is weight.type
    weight.grad = None
    weight.data = laid(OTHER, "NHWC")
    for times in (1, 2):  # put in its place, then added to
        step()
        assert weight.grad.type is weight.type
        np.testing.assert_array_equal(weight.grad.numpy(), 2 * OTHER * times)


def test_a_gradient_that_is_read_has_its_layout_of_now() -> None:
    weight = nn.Parameter(dt.tensor(NUMBERS))
    weight.grad = dt.tensor(NUMBERS)

    def change() -> None:
        weight.data = laid(OTHER, "NHWC")
        weight.grad = laid(OTHER, "NHWC")

    expect_as_eager(lambda: weight.grad * 2, change)


def test_a_gradient_that_is_read_may_be_another_tensor_on_the_same_array() -> None:
    weight = nn.Parameter(dt.tensor(NUMBERS))
    weight.grad = dt.tensor(OTHER)

    def change() -> None:
        weight.data = laid(NUMBERS, "NHWC")
        weight.grad = Tensor(weight.grad.array, weight.type)

    expect_as_eager(lambda: weight.grad * 2, change)


def test_a_gradient_that_is_set_does_not_fit_another_layout() -> None:
    weight = nn.Parameter(dt.tensor(NUMBERS))  # no state: only its gradient is set

    @dt.trace
    def leave(x: Tensor) -> None:
        weight.grad = x * 2

    leave(dt.tensor(NUMBERS))
    weight.data = laid(OTHER, "NHWC")
    with pytest.raises(dt.errors.ShapeError, match=r"a gradient of type .*NHWC"):
        leave(dt.tensor(NUMBERS))


def test_one_array_of_two_types_is_refused() -> None:
    first = scaled(0.5)
    second = scaled(0.25, first.array)
    with pytest.raises(TraceError, match="one type for the elements of a state"):
        dt.trace(lambda: (first[1:], second[1:]))()


def test_the_type_of_a_twin_is_looked_at() -> None:
    first = scaled(0.5)
    second = scaled(0.5, first.array)
    traced = dt.trace(lambda: (first[1:], second[1:]))
    traced()
    second.data = scaled(0.25, first.array)
    assert [result.type.element for result in traced()] == [scaled(0.5).type.element, scaled(0.25).type.element]


class Held:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


ASKED: dict[str, Callable[[Tensor], float]] = {
    "a size": lambda x: x.shape[0],
    "len": len,
    "axes": lambda x: x.ndim,
    "elements": lambda x: x.size,
    "layout": lambda x: 1 if x.type.layout.is_blocked else 2,
    "unpacked": lambda x: sum(x.shape),
}


@pytest.mark.parametrize("word", ASKED)
@pytest.mark.parametrize("place", ["closure", "attribute", "list", "parameter"])
def test_what_is_only_asked_of_a_tensor_is_asked_again_when_its_type_changes(word: str, place: str) -> None:
    """No op reads the tensor, so that it is no state: what went into Python follows from its type."""
    tensor, ask = dt.tensor(NUMBERS), ASKED[word]
    x = dt.tensor([1.0, 2.0])
    held, listed, module = Held(tensor), [tensor], nn.Module()
    module.tensor = nn.Parameter(tensor)
    functions: dict[str, Callable[[], Tensor]] = {
        "closure": lambda: x * ask(tensor),
        "attribute": lambda: x * ask(held.tensor),
        "list": lambda: x * ask(listed[0]),
        "parameter": lambda: x * ask(module.tensor),
    }
    other = np.zeros((3, 2, 2, 2, 2) if word == "axes" else (3, 5, 2, 2), np.float32)

    def change() -> None:
        new = dt.tensor(other).relayout("NCHW4c") if word == "layout" else dt.tensor(other)
        (module.tensor if place == "parameter" else tensor).data = new

    expect_as_eager(functions[place], change)


def test_numbers_that_change_alone_are_no_other_type() -> None:
    tensor, x = dt.tensor(NUMBERS), dt.tensor([1.0])
    traced = dt.trace(lambda: x * tensor.shape[0])
    for numbers in (NUMBERS, OTHER):
        tensor.data = dt.tensor(numbers)
        assert traced().tolist() == [2]
    assert len(traced.graphs) == 1
