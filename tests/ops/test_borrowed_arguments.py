"""Arguments that PyTorch's and NumPy's functions have: values and gradients, eagerly and traced, by NumPy's word."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients

import dtrain as dt
import dtrain.functional as F
from dtrain import trace
from dtrain.base.errors import ShapeError

SIGNED = np.array([[-7, 7, -6], [5, -5, 0]])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.int8])
@pytest.mark.parametrize("divisor", [-4, 2, 3])
def test_quotients_are_rounded_as_asked(dtype: type, divisor: int) -> None:
    x = SIGNED.astype(dtype)
    for mode, rounded in (("floor", np.floor), ("trunc", np.trunc)):
        wanted = rounded(SIGNED / divisor).astype(dtype)
        for function in (F.div, trace(F.div)):
            got = function(dt.tensor(x), dt.tensor(np.array(divisor, dtype)), rounding_mode=mode)
            assert got.numpy().dtype == dtype and np.array_equal(got.numpy(), wanted), (mode, got)
    assert np.array_equal(F.div(dt.tensor(SIGNED), 4).numpy(), (SIGNED / 4).astype(np.float32))
    with pytest.raises(ValueError, match="rounding_mode 'floor', 'trunc' or None, got 'up'"):
        F.div(dt.tensor(x), 2, rounding_mode="up")


def test_unsigned_quotients_do_not_wrap() -> None:
    x = dt.tensor(np.array([0, 7, 255], np.uint8))
    assert x.div(dt.tensor(np.array(4, np.uint8)), rounding_mode="trunc").tolist() == [0, 1, 63]


def test_alpha_scales_what_is_added() -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 3, 4))
    index = dt.tensor([2, 0, 2])
    assert_gradients(lambda a, b: F.add(a, b, alpha=-1.5), x, y)
    assert_gradients(lambda a, b: F.sub(a * a, b, alpha=0.5), x, y)
    assert_gradients(lambda a, b: F.index_add(a, 0, index, b, alpha=2), x, y)
    wanted = x.copy()
    np.add.at(wanted, index.numpy(), 2 * y)
    got = dt.tensor(x).index_add_(0, index, dt.tensor(y), alpha=2)
    assert np.allclose(got.numpy(), wanted)
    assert F.add(dt.tensor([1]), dt.tensor([2]), alpha=3).tolist() == [7]


@pytest.mark.parametrize("axes", [(0, 1), (1, 2), (2, 0), (-1, 1)])
@pytest.mark.parametrize("offset", [0, 1, -2])
def test_diagonal_of_two_axes(axes: tuple[int, int], offset: int) -> None:
    x = np.random.default_rng(1).normal(size=(3, 4, 5))
    wanted = np.diagonal(x, offset, *axes)
    for function in (F.diagonal, trace(F.diagonal)):
        assert np.array_equal(function(dt.tensor(x), offset, *axes).numpy(), wanted)
    assert np.array_equal(F.diagonal(dt.tensor(x), offset, dim1=axes[0], dim2=axes[1]).numpy(), wanted)
    assert np.array_equal(dt.tensor(x).diagonal().numpy(), np.diagonal(x))
    assert_gradients(lambda v: F.diagonal(v * v, offset, *axes), x)
    with pytest.raises(ShapeError, match="two different axes"):
        F.diagonal(dt.tensor(x), 0, 1, -2)


def test_take_along_dim_flattens_and_narrow_counts_from_the_end() -> None:
    x = np.arange(12.0).reshape(3, 4)
    places = np.array([[11, 0], [-1, 5]])
    wanted = x.ravel()[places.ravel()]
    assert np.array_equal(dt.take_along_dim(dt.tensor(x), dt.tensor(places)).numpy(), wanted)
    assert np.array_equal(dt.tensor(x).take_along_dim(dt.tensor(places)).numpy(), wanted)
    assert_gradients(lambda v: F.take_along_dim(v * v, dt.tensor(places)), x)
    assert np.array_equal(dt.tensor(x).narrow(1, -3, 2).numpy(), x[:, 1:3])
    assert_gradients(lambda v: F.narrow(v * v, 0, -2, 1), x)
    for start, length in ((-5, 1), (-1, 2), (3, 2)):
        with pytest.raises(ShapeError, match=r"narrow: expected a part of \[0, 4\)"):
            F.narrow(dt.tensor(x), 1, start, length)


def test_masks_and_tensors_broadcast_to_each_other() -> None:
    x, mask = np.arange(3.0), np.array([[True, False, True], [False, True, False]])
    wanted = np.broadcast_to(x, mask.shape)[mask]
    assert np.array_equal(F.masked_select(dt.tensor(x), dt.tensor(mask)).numpy(), wanted)
    assert_gradients(lambda v: F.masked_select(v * v, dt.tensor(mask)), x)
    assert F.masked_select(dt.tensor(3.0), dt.tensor([True, True])).tolist() == [3.0, 3.0]


def test_what_is_asked_of_orders_and_places() -> None:
    x = np.array([[3, 0, 3], [1, 0, 0]])
    assert [list(axis) for axis in np.nonzero(x)] == [axis.tolist() for axis in F.nonzero(dt.tensor(x), as_tuple=True)]
    assert np.array_equal(dt.tensor(x)[dt.tensor(x).nonzero(as_tuple=True)].numpy(), x[np.nonzero(x)])
    assert F.unique(dt.tensor(x)).tolist() == [0, 1, 3]
    values, counts = F.unique(dt.tensor(x), sorted=False, return_counts=True)
    assert values.tolist() == [0, 1, 3] and counts.tolist() == [3, 1, 2]
    assert dt.tensor(x).unique(return_inverse=True)[1].tolist() == [[2, 0, 2], [1, 0, 0]]
    assert F.sort(dt.tensor(x), stable=True)[1].tolist() == np.argsort(x, kind="stable").tolist()
    assert F.argsort(dt.tensor(x), dim=0, stable=True).tolist() == np.argsort(x, 0, kind="stable").tolist()


def test_searching_with_a_side_and_a_sorter() -> None:
    values, x = np.array([5, 1, 3, 3]), np.array([3, 6, 0])
    sorter = np.argsort(values, kind="stable")
    for side in ("left", "right"):
        got = F.searchsorted(dt.tensor(values), dt.tensor(x), side=side, sorter=dt.tensor(sorter), out_int32=True)
        assert got.dtype is dt.int32 and got.tolist() == np.searchsorted(values, x, side, sorter).tolist()
    with pytest.raises(ValueError, match="in accord with right"):
        F.searchsorted(dt.tensor([1]), dt.tensor([1]), right=True, side="left")


@pytest.mark.parametrize("decimals", [-1, 0, 1, 3])
def test_rounding_to_decimals(decimals: int) -> None:
    x = np.array([123.45678, -0.5, 2.5, -17.25])
    for function in (F.round, trace(F.round)):
        assert np.allclose(function(dt.tensor(x), decimals=decimals).numpy(), np.round(x, decimals), rtol=1e-15)
    assert F.round(dt.tensor([17]), decimals=2).tolist() == [17]
    with pytest.raises(TypeError, match="decimals of at least 0 for integers"):
        F.round(dt.tensor([17]), decimals=-1)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "softmin"])
def test_functions_of_rows_in_another_dtype(name: str) -> None:
    x = np.random.default_rng(2).normal(size=(2, 5)).astype(np.float32)
    function = getattr(F, name)
    got = function(dt.tensor(x), 1, dtype="f64")
    assert got.dtype is dt.float64
    assert np.array_equal(got.numpy(), function(dt.tensor(x.astype(np.float64)), 1).numpy())
    leaf = dt.tensor(x, requires_grad=True)
    (function(leaf, 1, dtype="f64") ** 2).sum().backward()
    assert leaf.grad is not None and leaf.grad.dtype is dt.float32
    assert function(dt.tensor([[1, 2]]), 1, dtype="f32").dtype is dt.float32


@pytest.mark.parametrize("name", ["sum", "prod", "cumsum", "mean"])
def test_reductions_in_another_dtype(name: str) -> None:
    x = np.array([[1.5, 2.5], [3.5, 1.5]])
    for kind in (np.float32, np.float64) if name == "mean" else (np.float32, np.int32, np.int64, np.uint8):
        got = getattr(F, name)(dt.tensor(x), 1, dtype=kind)
        assert got.numpy().dtype == kind
        assert np.array_equal(got.numpy(), getattr(np, name)(x.astype(kind), 1).astype(kind))


def test_small_ones() -> None:
    like = dt.tensor([[1.0, 2.0]])
    for function in (F.zeros_like, F.ones_like, dt.rand_like, dt.randn_like):
        made = function(like, device="cpu", dtype="f64", requires_grad=True)
        assert made.shape == (1, 2) and made.dtype is dt.float64 and made.requires_grad
    assert dt.eye(2, 3, requires_grad=True).requires_grad and F.full_like(like, 7, device="cpu").tolist() == [[7, 7]]
    drawn = dt.randint(0, 3, (50,), dtype="f32")
    assert drawn.dtype is dt.float32 and set(drawn.tolist()) == {0.0, 1.0, 2.0}
    x = np.array([[1.0, 2.0, 6.0], [0.0, 1.0, 5.0]])
    assert dt.tensor(x).var(False).item() == pytest.approx(x.var())
    assert np.allclose(dt.tensor(x).std(1, True, True).numpy(), x.std(1, ddof=1, keepdims=True))
    assert np.allclose(F.var_mean(dt.tensor(x), True)[0].item(), x.var(ddof=1))
    assert np.array_equal(F.softplus(dt.tensor(x), 2.0, threshold=3.0).numpy()[0, 1:], [2.0, 6.0])
    assert_gradients(lambda v: F.softplus(v, 2.0, threshold=3.0), x)


@pytest.mark.parametrize(
    ("source", "destination"), [((0, 1), (2, 0)), ((-1, 0), (0, -1)), ([2], [0]), ((), ()), (1, 3)]
)
def test_several_axes_move(source: object, destination: object) -> None:
    x = np.arange(24.0).reshape(1, 2, 3, 4)
    assert np.array_equal(F.move_axis(dt.tensor(x), source, destination).numpy(), np.moveaxis(x, source, destination))
    with pytest.raises(ShapeError, match="as many places as axes"):
        F.move_axis(dt.tensor(x), (0, 1), (2,))


def test_triplets_with_the_distance_between_positive_and_negative() -> None:
    anchor, positive, negative = np.random.default_rng(3).normal(size=(3, 4, 5))

    def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.linalg.norm(a - b + 1e-6, axis=-1)

    far = np.minimum(distance(anchor, negative), distance(positive, negative))
    wanted = np.maximum(0, distance(anchor, positive) - far + 1).mean()
    got = F.triplet_margin_loss(dt.tensor(anchor), dt.tensor(positive), dt.tensor(negative), swap=True)
    assert got.item() == pytest.approx(wanted, rel=1e-12)
    assert_gradients(lambda a, p, n: F.triplet_margin_loss(a, p, n, swap=True), anchor, positive, negative)


# Central differences move by 1e-5: far from the steps of these functions.
BETWEEN_STEPS = np.array([[0.3, 1.7, -2.4], [5.2, -0.6, 3.1]])


@pytest.mark.parametrize("mode", ["floor", "trunc"])
def test_gradients_of_rounded_quotients_are_0(mode: str) -> None:
    y = np.array([[0.7, -0.9, 1.1], [2.3, 1.9, -0.8]])
    assert_gradients(lambda a, b: F.div(a, b, rounding_mode=mode) * a * b, BETWEEN_STEPS, y, second=True)
    given = [dt.tensor(values, requires_grad=True) for values in (BETWEEN_STEPS, y)]

    def slopes(a: dt.Tensor, b: dt.Tensor) -> tuple[dt.Tensor, ...]:
        return dt.grad(F.div(a, b, rounding_mode=mode).sum(), [a, b])

    for function in (slopes, trace(slopes)):
        assert [slope.tolist() for slope in function(*given)] == [[[0.0] * 3] * 2] * 2


def test_gradients_of_true_quotients() -> None:
    y = np.array([[0.7, -0.9, 1.1], [2.3, 1.9, -0.8]])
    assert_gradients(lambda a, b: F.div(a, b, rounding_mode=None), BETWEEN_STEPS, y, second=True)


@pytest.mark.parametrize("decimals", [-1, 0, 1, 3])
def test_gradients_of_decimals_are_0(decimals: int) -> None:
    x = BETWEEN_STEPS + 0.0321
    assert_gradients(lambda v: F.round(v, decimals=decimals) * v * v, x, second=True)
    v = dt.tensor(x, requires_grad=True)
    (slope,) = dt.grad(F.round(v, decimals=decimals).sum(), [v])
    assert slope.tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 1)])
@pytest.mark.parametrize("name", ["sum", "mean", "prod", "cumsum", "softmax", "log_softmax"])
def test_gradients_through_another_dtype(name: str, axis: int | tuple[int, int] | None) -> None:
    """In f64 they are the function's; from f32 to f64 they come back in f32, those of numbers that are cast first."""
    if not isinstance(axis, int) and name not in ("sum", "mean"):
        axis = 1
    function = getattr(F, name)
    assert_gradients(lambda v: function(v * v, axis, dtype="f64"), BETWEEN_STEPS, second=name != "prod")
    short, long = (dt.tensor(BETWEEN_STEPS, dtype=dtype, requires_grad=True) for dtype in ("f32", "f64"))

    def slope(x: dt.Tensor, y: dt.Tensor) -> dt.Tensor:
        weights = np.cos(np.arange(y.size)).reshape(y.shape)
        return dt.grad((y * dt.tensor(weights)).sum(), [x])[0]

    given = slope(short, function(short, axis, dtype="f64"))
    wanted = slope(long, function(long, axis))
    assert given.dtype is dt.float32
    np.testing.assert_allclose(given.numpy(), wanted.numpy(), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("source", "destination"), [((0, 1), (1, 2)), ((2, 0), (0, 1)), ([-1, 1], [0, -1]), ((0, 1, 2), (2, 0, 1))]
)
def test_gradients_of_several_moved_axes(source: tuple[int, ...], destination: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    assert_gradients(lambda v: F.move_axis(v * v, source, destination), x, second=True)
    v = dt.tensor(x, requires_grad=True)
    weights = np.random.default_rng(1).standard_normal(np.moveaxis(x, source, destination).shape)

    def moved_and_slope(v: dt.Tensor, w: dt.Tensor) -> tuple[dt.Tensor, dt.Tensor]:
        y = F.move_axis(v, source, destination)
        return y, dt.grad((y * w).sum(), [v])[0]

    for function in (moved_and_slope, trace(moved_and_slope)):
        y, slope = function(v, dt.tensor(weights))
        assert np.array_equal(y.numpy(), np.moveaxis(x, source, destination))
        assert np.array_equal(slope.numpy(), np.moveaxis(weights, destination, source))


def test_places_are_64_bits_wide_and_a_number_has_one_axis() -> None:
    assert F.max_pool2d(dt.ones((1, 1, 2, 2)), 2, return_indices=True)[1].dtype is dt.int64
    assert [axis.tolist() for axis in dt.tensor(3.0).nonzero(as_tuple=True)] == [[0]]
    assert [axis.tolist() for axis in dt.tensor(0.0).nonzero(as_tuple=True)] == [[]]


def test_only_the_same_infinity_is_close_to_one() -> None:
    x, y = dt.tensor([np.inf, np.inf, 1.0, np.nan]), dt.tensor([np.inf, -np.inf, np.inf, np.nan])
    assert F.isclose(x, y).tolist() == [True, False, False, False]
    assert F.isclose(x, y, equal_nan=True).tolist() == [True, False, False, True]
