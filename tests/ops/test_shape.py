"""Shape ops against NumPy: results, shared memory, gradients, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients

import dtrain as dt
import dtrain.functional as F
from dtrain.base.errors import ShapeError
from dtrain.core.tensor import wrap

RNG = np.random.default_rng(5)


def draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def test_reshape_and_its_spellings() -> None:
    x = wrap(draw(2, 6))
    for result in (x.reshape(3, 4), x.reshape((3, 4)), x.view([3, -1]), F.reshape(x, (-1, 4))):
        assert np.array_equal(result.numpy(), x.numpy().reshape(3, 4))
    assert np.shares_memory(x.reshape(3, 4).numpy(), x.numpy())
    assert x.reshape(2, 6) is not x and np.shares_memory(x.reshape(2, 6).numpy(), x.numpy())
    assert wrap(draw(1)).reshape(()).shape == ()
    assert F.zeros((0, 3)).reshape(5, 0).shape == (5, 0)


@pytest.mark.parametrize("shape", [(5, 2), (-1, -1), (-1, 5), (-2, 6), (0, -1)])
def test_reshape_refuses(shape) -> None:
    with pytest.raises(ShapeError, match="reshape: expected"):
        F.zeros((2, 6)).reshape(shape)


def test_flatten() -> None:
    x = wrap(draw(2, 3, 4, 5))
    assert x.flatten().shape == (120,)
    assert x.flatten(1).shape == (2, 60)
    assert x.flatten(1, 2).shape == (2, 12, 5)
    assert F.zeros(()).flatten().shape == (1,)
    with pytest.raises(ShapeError, match="start_axis not after end_axis"):
        x.flatten(2, 1)


def test_unsqueeze_and_squeeze() -> None:
    x = wrap(draw(2, 3))
    assert x.unsqueeze(0).shape == (1, 2, 3)
    assert x.unsqueeze(-1).shape == (2, 3, 1)
    assert F.expand_dims(x, (0, -1)).shape == (1, 2, 3, 1)
    assert F.zeros((1, 2, 1)).squeeze().shape == (2,)
    assert F.squeeze(F.zeros((1, 2, 1)), -1).shape == (1, 2)
    assert F.squeeze(F.zeros((1, 2, 1)), (0, 2)).shape == (2,)
    with pytest.raises(ShapeError, match="axis 0 of size 1"):
        F.squeeze(x, 0)
    assert x.squeeze(0).shape == x.squeeze(dim=-1).shape == (2, 3)  # PyTorch's rule
    assert wrap(draw(1, 3, 1)).squeeze((0, 1)).shape == (3, 1)
    assert dt.squeeze(wrap(draw(1, 3, 1)), 1).shape == (1, 3, 1)
    assert wrap(draw()).squeeze(0).shape == ()
    with pytest.raises(ShapeError, match=r"an axis in \[-3, 3\), got 3"):
        x.unsqueeze(3)


def test_add_axis_and_remove_axis_take_one_int() -> None:
    x = wrap(np.array([1, 2]))
    assert F.add_axis(x, 0).tolist() == [[1, 2]]
    assert F.add_axis(x, -1).tolist() == [[1], [2]]
    assert F.remove_axis(F.add_axis(x, 0), np.int64(0)).tolist() == [1, 2]
    for function in (F.add_axis, F.remove_axis):
        for axis, name in (([0], "list"), ((0,), "tuple"), (None, "NoneType"), (0.0, "float")):
            with pytest.raises(ValueError, match=f"axis must be int, but got type:<class '{name}'>"):
                function(x, axis)
    with pytest.raises(ValueError, match=r"an axis in \[-2, 2\)"):
        F.add_axis(x, 2)
    with pytest.raises(ValueError, match="axis 0 of size 1"):
        F.remove_axis(x, 0)


def test_transpose_and_permute() -> None:
    x = draw(2, 3, 4)
    assert np.array_equal(wrap(x).transpose(0, 2).numpy(), x.swapaxes(0, 2))
    assert np.array_equal(F.transpose(wrap(x), (1, 2, 0)).numpy(), x.transpose(1, 2, 0))
    assert np.array_equal(wrap(x).permute(2, 0, -2).numpy(), x.transpose(2, 0, 1))
    assert np.array_equal(wrap(x).T.numpy(), x.T)
    assert np.shares_memory(wrap(x).T.numpy(), x)
    with pytest.raises(ShapeError, match="a permutation of the 3 axes"):
        wrap(x).permute(0, 0, 1)
    with pytest.raises(ShapeError, match="two axes, or one tuple of all axes"):
        wrap(x).transpose(0, 1, 2)


def test_swap_and_move_axes() -> None:
    x = draw(2, 3, 4)
    assert np.array_equal(F.swap_axes(wrap(x), 0, -1).numpy(), x.swapaxes(0, -1))
    for source, destination in ((0, 2), (2, 0), (-1, 1), (1, 1)):
        assert np.array_equal(F.move_axis(wrap(x), source, destination).numpy(), np.moveaxis(x, source, destination))


def test_broadcast_to_and_expand() -> None:
    x = draw(3, 1)
    wide = F.broadcast_to(wrap(x), (2, 3, 4))
    assert np.array_equal(wide.numpy(), np.broadcast_to(x, (2, 3, 4)))
    assert np.shares_memory(wide.numpy(), x)
    assert np.array_equal(wrap(x).expand(2, -1, 4).numpy(), wide.numpy())
    with pytest.raises(ShapeError, match="broadcast_to: expected shapes that broadcast"):
        F.broadcast_to(wrap(x), (2, 4))
    with pytest.raises(ShapeError, match=r"a shape that .* broadcasts to"):
        F.broadcast_to(F.zeros((3, 4)), (3, 1))
    with pytest.raises(ShapeError, match="expand: expected at least 2 sizes"):
        wrap(x).expand(-1, 3, 4)


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_repeat(axis, count) -> None:
    x = draw(2, 3)
    assert np.array_equal(F.repeat(wrap(x), count, axis).numpy(), np.repeat(x, count, axis))


@pytest.mark.parametrize("counts", [2, (2,), (2, 3), (2, 1, 3), (0, 2)])
def test_tile(counts) -> None:
    x = draw(2, 3)
    assert np.array_equal(F.tile(wrap(x), counts).numpy(), np.tile(x, counts))


def test_gradients() -> None:
    x = draw(2, 3, 4)
    assert_gradients(lambda v: (v * v).reshape(6, 4), x, second=True)
    assert_gradients(lambda v: (v * v).permute(2, 0, 1), x, second=True)
    assert_gradients(lambda v: F.broadcast_to(v * v, (5, 2, 3, 4)), x, second=True)
    assert_gradients(lambda v: F.tile(v, (2, 1, 3)), x)
    assert_gradients(lambda v: F.repeat(v, 3, 1), x)


def test_repeat_each_element_as_often_as_is_said() -> None:
    x = draw(3, 2)
    for counts in ([2, 0, 3], [1, 1, 1], [2]):
        wanted = np.repeat(x, counts, 0)
        assert np.array_equal(F.repeat(wrap(x), counts, 0).numpy(), wanted)
        assert np.array_equal(dt.repeat_interleave(wrap(x), dt.tensor(counts), dim=0).numpy(), wanted)
        size = len(wanted)
        assert wrap(x).repeat_interleave(dt.tensor(counts), dim=0, output_size=size).shape == wanted.shape
    assert np.array_equal(F.repeat(wrap(x), dt.tensor([0, 1, 2, 0, 1, 3])).numpy(), np.repeat(x, [0, 1, 2, 0, 1, 3]))
    assert_gradients(lambda v: F.repeat(v, [2, 0, 3], 0), x.astype(np.float64))
    assert_gradients(lambda v: F.repeat(v, dt.tensor([0, 2]), 1), x.astype(np.float64))


@pytest.mark.parametrize("counts", [[1, 2], [1, -1, 2], [1.0, 2.0, 3.0], [[1, 2, 3]]])
def test_counts_that_fit_no_axis_are_refused(counts) -> None:
    for given in (counts, dt.tensor(counts)):
        with pytest.raises(ShapeError, match="repeat: expected repeats as one integer"):
            F.repeat(wrap(draw(3, 2)), given, 0)


def test_a_wrong_output_size_is_refused() -> None:
    for repeats in (2, dt.tensor([1, 3])):
        with pytest.raises(ShapeError, match=r"repeat: expected output_size 4, .*, got 5"):
            F.repeat(wrap(draw(2)), repeats, 0, output_size=5)
