"""Gather and scatter against plain loops; the rules that scatter enforces; one hot."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients

import dtrain.functional as F
from dtrain.base.errors import DtypeError
from dtrain.capture.trace import trace
from dtrain.core.tensor import wrap

RNG = np.random.default_rng(10)
INDEX = np.array([[0, 2, 0, 2, 1], [2, 0, 1, 1, 2]])


def loops(x, axis, index, source, add):
    result = x.copy()
    for place in np.ndindex(*index.shape):
        target = list(place)
        target[axis] = index[place]
        result[tuple(target)] = source[place] + (result[tuple(target)] if add else 0)
    return result


def test_scatter_of_the_documentation() -> None:
    source = np.array(
        [[0.9935, 0.9465, 0.2256, 0.8926, 0.4396], [0.7723, 0.0718, 0.5939, 0.3570, 0.4576]], dtype=np.float32
    )
    result = F.scatter(F.zeros((3, 5)), 0, wrap(INDEX), wrap(source))
    wanted = [
        [0.9935, 0.0718, 0.2256, 0.0, 0.0],
        [0.0, 0.0, 0.5939, 0.3570, 0.4396],
        [0.7723, 0.9465, 0.0, 0.8926, 0.4576],
    ]
    np.testing.assert_allclose(result.numpy(), np.array(wanted, np.float32))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("shape", [(2, 3, 2), (1, 1, 1), (0, 2, 2), (4, 3, 5)])
def test_scatter_equals_loops(axis: int, shape: tuple[int, ...]) -> None:
    x = RNG.normal(size=(4, 3, 5))
    index, source = RNG.integers(0, x.shape[axis], shape), RNG.normal(size=shape)
    got = F.scatter(wrap(x), axis, wrap(index), wrap(source)).numpy()
    assert np.array_equal(got, loops(x, axis, index, source, False)), "the last writer wins"
    added = F.scatter_add(wrap(x), axis, wrap(index), wrap(source)).numpy()
    assert np.array_equal(added, loops(x, axis, index, source, True)), "sums are made in order"


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_equals_loops(axis: int) -> None:
    x = RNG.normal(size=(4, 3, 5))
    shape = [2, 3, 4]
    shape[axis] = 7
    index = RNG.integers(0, x.shape[axis], shape)
    got = F.gather(wrap(x), axis, wrap(index)).numpy()
    for place in np.ndindex(*shape):
        source = list(place)
        source[axis] = index[place]
        assert got[place] == x[tuple(source)]


@pytest.mark.parametrize(
    ("shape", "places", "axis"),
    [
        ((2, 3), (1, 1), 1), ((2, 3), (1, 1), 0), ((2, 3), (2, 5), -1), ((1, 3), (4, 2), 1), ((2, 1, 3), (1, 4, 2), 2),
        ((2, 3), (7,), None), ((2, 3), (2, 0), 1), ((4,), (3,), 0),
    ],
)  # fmt: skip
def test_take_along_axis_is_numpys(shape, places, axis) -> None:
    x = RNG.normal(size=shape)
    size = x.size if axis is None else x.shape[axis]
    index = RNG.integers(-size, size, places)
    leaf = wrap(x).requires_grad_()
    got = F.take_along_axis(leaf, wrap(index), axis)
    wanted = np.take_along_axis(x, index, axis)
    assert got.shape == wanted.shape and np.array_equal(got.numpy(), wanted)
    got.sum().backward()
    assert leaf.grad.numpy().sum() == wanted.size


def test_take_along_axis_refuses_what_numpy_refuses() -> None:
    x = F.zeros((2, 3))
    for bad in (-4, 3):
        for function in (F.take_along_axis, trace(F.take_along_axis)):
            with pytest.raises(ValueError, match=f"take_along_axis: expected indices from -3 to 2, got {bad}"):
                function(x, wrap(np.array([[bad]])), 1)
    with pytest.raises(ValueError, match="take_along_axis: expected shapes that broadcast"):
        F.take_along_axis(x, wrap(np.zeros((3, 1), int)), 1)
    with pytest.raises(ValueError, match="take_along_axis: expected an index of 2 axes"):
        F.take_along_axis(x, wrap(np.zeros(1, int)), 1)


@pytest.mark.parametrize(
    ("axis", "index", "source", "text"),
    [
        (0, INDEX[0], np.zeros(5), "an index of 2 axes"),
        (0, INDEX, np.zeros((2, 4)), "index and source of one shape"),
        (0, np.zeros((2, 6), int), np.zeros((2, 6)), "a source no larger than"),
        (2, INDEX, np.zeros((2, 5)), r"an axis in \[-2, 2\), got 2"),
        (0, INDEX + 1, np.zeros((2, 5)), r"index values in \[0, 3\), got 3"),
        (0, INDEX - 1, np.zeros((2, 5)), r"index values in \[0, 3\), got -1"),
    ],
)
@pytest.mark.parametrize("function", [F.scatter, F.scatter_add])
def test_scatter_rules(function, axis, index, source, text) -> None:
    with pytest.raises(ValueError, match=text):
        function(F.zeros((3, 5), dtype="f64"), axis, wrap(index), wrap(source))


def test_gather_rules() -> None:
    with pytest.raises(ValueError, match="an index no larger than"):
        F.gather(F.zeros((3, 5)), 0, wrap(np.zeros((1, 6), int)))
    with pytest.raises(ValueError, match=r"index values in \[0, 3\), got -1"):
        F.gather(F.zeros((3, 5)), 0, wrap(np.full((1, 5), -1)))
    with pytest.raises(DtypeError, match="an index of integers"):
        F.gather(F.zeros((3, 5)), 0, F.zeros((1, 5)))
    with pytest.raises(DtypeError, match="inputs of one dtype"):
        F.scatter(F.zeros((3, 5)), 0, wrap(INDEX), F.zeros((2, 5), dtype="f64"))


def test_gradients_with_repeated_places() -> None:
    x, source = RNG.normal(size=(3, 5)), RNG.normal(size=(3, 5))
    index = np.array([[0, 2, 0, 2, 1], [2, 2, 0, 1, 1], [0, 2, 1, 2, 1]])
    assert_gradients(lambda a, b: F.scatter(a * a, 0, wrap(index), b * b), x, source, second=True)
    assert_gradients(lambda a, b: F.scatter_add(a * a, 0, wrap(index), b * b), x, source, second=True)
    assert_gradients(lambda a: F.gather(a * a, 0, wrap(index)), x, second=True)


def test_one_hot() -> None:
    numbers = np.array([[2, 0], [1, 2]])
    assert np.array_equal(F.one_hot(wrap(numbers), 3).numpy(), np.eye(3, dtype=np.int64)[numbers])
    assert F.one_hot(wrap(numbers), 4, dtype="f32").type.shape == (2, 2, 4)
    with pytest.raises(ValueError, match=r"one_hot: expected index values in \[0, 2\), got 2"):
        F.one_hot(wrap(numbers), 2)
    with pytest.raises(DtypeError, match="class numbers of integers"):
        F.one_hot(F.zeros(2), 2)


def test_scatter_adds_on_request_and_takes_one_number() -> None:
    x, index = F.ones((3, 2)), wrap(np.array([[0, 0], [0, 2]]))
    source = wrap(np.array([[1.0, 2.0], [3.0, 4.0]], np.float32))
    added = F.scatter(x, 0, index, source, reduce="add")
    assert np.array_equal(added.numpy(), F.scatter_add(x, 0, index, source).numpy())
    assert F.scatter(x, 0, index, 7).tolist() == [[7.0, 7.0], [1.0, 1.0], [1.0, 7.0]]
    assert F.scatter(x, 0, index, source, reduce="multiply").tolist() == [[3.0, 2.0], [1.0, 1.0], [1.0, 4.0]]
