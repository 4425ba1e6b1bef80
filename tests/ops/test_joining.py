"""Concat, stack, split, pad, flip and roll against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients

import dtrain as dt
import dtrain.functional as F
from dtrain.base.errors import ShapeError
from dtrain.core.tensor import wrap

RNG = np.random.default_rng(6)


def draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concat_and_stack(axis: int) -> None:
    parts = [draw(2, 3, 4) for _ in range(3)]
    tensors = [wrap(part) for part in parts]
    assert np.array_equal(F.concat(tensors, axis).numpy(), np.concatenate(parts, axis))
    assert np.array_equal(F.stack(tensors, axis).numpy(), np.stack(parts, axis))


def test_concat_promotes_and_takes_empty_parts() -> None:
    result = F.concat([wrap(np.array([1], np.int8)), wrap(np.zeros(0, np.float32)), wrap(np.array([2.5], np.float32))])
    assert result.dtype.tag == "f32"
    assert result.tolist() == [1.0, 2.5]


def test_joining_refuses() -> None:
    with pytest.raises(ShapeError, match="concat: expected shapes that agree but for axis 0"):
        F.concat([F.zeros((2, 3)), F.zeros((2, 4))])
    with pytest.raises(ShapeError, match="concat: expected at least one tensor"):
        F.concat([])
    with pytest.raises(ShapeError, match=r"at least 1 axis.*use stack"):
        F.concat([F.zeros(())])
    with pytest.raises(ShapeError, match="stack: expected tensors of one shape"):
        F.stack([F.zeros(2), F.zeros(3)])


def test_split_and_chunk() -> None:
    x = draw(7, 2)
    assert [part.shape[0] for part in F.split(wrap(x), 3)] == [3, 3, 1]
    assert [part.shape[0] for part in F.split(wrap(x), (0, 5, 2))] == [0, 5, 2]
    assert [part.shape[0] for part in F.chunk(wrap(x), 4)] == [2, 2, 2, 1]
    assert [part.shape for part in F.split(F.zeros((0, 2)), 3)] == [(0, 2)]
    assert np.array_equal(F.concat(F.split(wrap(x), [1, 1], 1), 1).numpy(), x)
    with pytest.raises(ShapeError, match="sizes that add up to 7"):
        F.split(wrap(x), [3, 3])
    with pytest.raises(ShapeError, match="split_size of at least 1, got 0"):
        F.split(wrap(x), 0)
    with pytest.raises(TypeError, match=r"split: expected split_size as an int, got 2.5 of type float"):
        F.split(wrap(x), 2.5)
    with pytest.raises(ShapeError, match="chunks of at least 1, got 0"):
        F.chunk(wrap(x), 0)


@pytest.mark.parametrize(("mode", "theirs"), [("reflect", "reflect"), ("replicate", "edge"), ("circular", "wrap")])
def test_pad_by_mode(mode: str, theirs: str) -> None:
    x = draw(2, 4, 5)
    result = F.pad(wrap(x), (1, 2, 3, 0), mode=mode)
    assert np.array_equal(result.numpy(), np.pad(x, ((0, 0), (3, 0), (1, 2)), mode=theirs))


def test_pad_with_a_value() -> None:
    x = draw(2, 3)
    assert np.array_equal(F.pad(wrap(x), (1, 2), value=7).numpy(), np.pad(x, ((0, 0), (1, 2)), constant_values=7))
    assert F.pad(wrap(x), (0, 0)).shape == (2, 3)
    with pytest.raises(ShapeError, match="a pair for each of at most 2 axes"):
        F.pad(wrap(x), (1, 2, 3))
    with pytest.raises(ShapeError, match="padding of at most 2 on axis 1"):
        F.pad(wrap(x), (3, 0), mode="reflect")
    with pytest.raises(ValueError, match="mode constant, reflect, replicate, circular, got 'mirror'"):
        F.pad(wrap(x), (1, 0), mode="mirror")


def test_flip_and_roll() -> None:
    x = draw(3, 4)
    for axis in (None, 0, -1, (0, 1)):
        assert np.array_equal(F.flip(wrap(x), axis).numpy(), np.flip(x, axis))
    for shift, axis in ((1, 0), (-2, 1), (9, 1), (5, None), ((1, 2), (0, 1)), (0, 0)):
        assert np.array_equal(F.roll(wrap(x), shift, axis).numpy(), np.roll(x, shift, axis))
    with pytest.raises(ShapeError, match="as many shifts as axes"):
        F.roll(wrap(x), (1, 2), 0)


def test_gradients() -> None:
    x, y = draw(2, 3), draw(2, 4)
    assert_gradients(lambda a, b: F.concat([a * a, b, a], 1), x, y, second=True)
    assert_gradients(lambda a: F.split(a * a, [1, 2], 1)[1], x, second=True)
    assert_gradients(lambda a: F.pad(a * a, (1, 2, 0, 1)), x, second=True)
    assert_gradients(lambda a: F.pad(a * a, (2, 1), mode="reflect"), x, second=True)
    assert_gradients(lambda a: F.roll(F.flip(a, 1), 1, 1), x)


def test_unbind_and_cat() -> None:
    x = draw(3, 4)
    for axis in (0, 1, -1):
        parts = F.unbind(wrap(x), axis)
        assert all(np.array_equal(part.numpy(), x.take(i, axis)) for i, part in enumerate(parts))
        assert np.array_equal(F.stack(parts, axis).numpy(), x)
    assert np.array_equal(F.cat([wrap(x), wrap(x)]).numpy(), np.concatenate([x, x]))


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("pads", [(-1, 0), (0, -2), (-1, -1), (-1, 2), (2, -1, -1, 0), (-3, -2)])
def test_negative_pads_cut(pads, mode):
    """Cut first, then pad what is left."""
    x = np.arange(20.0).reshape(4, 5)
    pairs = [(0, 0)] * (2 - len(pads) // 2) + list(zip(pads[-2::-2], pads[-1::-2]))
    cut = x[tuple(slice(max(-b, 0), size - max(-a, 0)) for size, (b, a) in zip(x.shape, pairs))]
    grown = [(max(b, 0), max(a, 0)) for b, a in pairs]
    names = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
    wanted = np.pad(cut, grown, mode=names[mode]) if cut.size else cut
    leaf = wrap(x).requires_grad_()
    got = F.pad(leaf, pads, mode=mode)
    assert np.array_equal(got.numpy(), wanted)
    got.sum().backward()
    assert leaf.grad.shape == x.shape


def test_more_cannot_be_cut_than_there_is():
    with pytest.raises(ShapeError, match="pad: expected sizes that leave something"):
        F.pad(F.zeros((2, 3)), (-2, -2))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.flip(x, -1),
        lambda x: x.flip(0),
        lambda x: F.flip(x),
        lambda x: F.roll(x, 0, 0),
        lambda x: F.roll(x, 1, 0),
        lambda x: F.roll(x, 0),
        lambda x: F.roll(x, (0, 3), (0, 1)),
        lambda x: F.tile(x, 1),
        lambda x: F.tile(x, (2, 1)),
        lambda x: x.repeat(1, 1),
        lambda x: F.repeat(x, 1, 0),
        lambda x: x.repeat_interleave(1, 0),
        lambda x: F.pad(x, (0, 0)),
        lambda x: F.pad(x, (-1, 0)),
        lambda x: F.pad(x, (0, 0), mode="reflect"),
        lambda x: F.pad(x, (0, -1), mode="circular"),
    ],
)
def test_what_moves_or_repeats_elements_has_memory_of_its_own(function):
    """As in PyTorch: an augmentation may write into its result. Views are what takes parts and other shapes."""
    for run in (function, dt.trace(function)):
        x = wrap(np.array([[1.0, 2.0, 3.0]]))
        y = run(x)
        y.mul_(0)
        assert x.tolist() == [[1, 2, 3]]
        assert y.numpy().flags.c_contiguous


def test_nothing_that_turns_around_is_still_new():
    x = wrap(np.array(5.0))
    for y in (F.flip(x), F.roll(x, 1), F.tile(x, 1), F.pad(x, ())):
        assert y is not x
        y.add_(1)
    assert x.item() == 5
