"""Sorting, top k and the dynamic ops against NumPy and plain definitions."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients

import dtrain.functional as F
from dtrain.base.errors import ShapeError, TraceError
from dtrain.capture.trace import trace
from dtrain.core.tensor import wrap

RNG = np.random.default_rng(12)
DTYPES = ["u8", "s8", "s32", "s64", "f16", "bf16", "f32", "f64"]


def with_ties(*shape: int) -> np.ndarray:
    return RNG.integers(0, 5, shape).astype(np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_sort_is_stable(dtype: str, descending: bool, axis: int) -> None:
    x = with_ties(9, 17)
    values, indices = F.sort(wrap(x).to(dtype), axis, descending)
    wanted = np.argsort(-x if descending else x, axis=axis, kind="stable")
    assert np.array_equal(indices.numpy(), wanted)
    assert np.array_equal(values.to("f32").numpy(), np.take_along_axis(x, wanted, axis))
    assert np.array_equal(F.argsort(wrap(x).to(dtype), axis, descending).numpy(), wanted)


def test_extremes_of_integers_and_nan() -> None:
    x = np.array([0, -(2**31), 2**31 - 1], dtype=np.int32)
    assert F.sort(wrap(x), descending=True)[0].tolist() == [2**31 - 1, 0, -(2**31)]
    y = np.array([np.nan, 1.0, np.inf, -np.inf])
    assert F.argsort(wrap(y)).tolist() == [3, 1, 2, 0]
    assert F.argsort(wrap(y), descending=True).tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize(("k", "shape", "axis"), [(1, (1,), 0), (3, (4, 7), 1), (7, (4, 7), -1), (2, (5, 3), 0)])
def test_topk(largest: bool, k: int, shape: tuple[int, ...], axis: int) -> None:
    x = with_ties(*shape)
    order = np.argsort(-x if largest else x, axis=axis, kind="stable")
    wanted = np.take(order, np.arange(k), axis=axis)
    values, indices = F.topk(wrap(x), k, axis, largest)
    assert np.array_equal(indices.numpy(), wanted)
    assert np.array_equal(values.numpy(), np.take_along_axis(x, wanted, axis))
    unsorted, places = F.topk(wrap(x), k, axis, largest, sorted=False)
    assert np.array_equal(places.numpy(), np.sort(wanted, axis=axis))
    assert np.array_equal(unsorted.numpy(), np.take_along_axis(x, places.numpy(), axis))


@pytest.mark.parametrize("batch", [65535, 65536, 70000])
def test_topk_of_large_batches(batch: int) -> None:
    x = RNG.normal(size=(batch, 5)).astype(np.float32)
    values, indices = F.topk(wrap(x), 3, largest=False)
    assert np.array_equal(values.numpy(), np.sort(x, axis=1)[:, :3])
    assert np.array_equal(np.take_along_axis(x, indices.numpy(), 1), values.numpy())


def test_top_k_of_the_reference_system() -> None:
    x = wrap(np.array([2, 4, 6, 8, 7, 5, 3, 1]))
    values, indices = F.top_k(x, 5)
    assert values.tolist() == [1, 2, 3, 4, 5]
    assert indices.tolist() == [7, 0, 6, 1, 5]
    for largest in (F.top_k(x, 3, descending=True), F.top_k(x, -3)):
        assert largest[0].tolist() == [8, 7, 6]
    assert F.top_k(x, 99)[0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8], "more than there are means all"
    assert F.top_k(x, 3, kth_only=True).tolist() == 3
    assert F.top_k(wrap(np.array([[3, 1, 2], [9, 7, 8]])), 2, kth_only=True).tolist() == [2, 8]
    assert F.top_k(x, 3, no_sort=True)[1].tolist() == [0, 6, 7]
    with pytest.raises(ShapeError, match="k other than 0"):
        F.top_k(x, 0)


def test_gradients() -> None:
    x = RNG.permutation(12).reshape(3, 4).astype(np.float64)
    assert_gradients(lambda v: F.sort(v * v, 1)[0], x, second=True)
    assert_gradients(lambda v: F.topk(v * v, 2, 0)[0], x, second=True)
    assert_gradients(lambda v: F.masked_select(v * v, wrap(x > 4)), x, second=True)


@pytest.mark.parametrize("dtype", ["bool", "s32", "bf16", "f64"])
def test_nonzero(dtype: str) -> None:
    x = with_ties(4, 3)
    assert np.array_equal(F.nonzero(wrap(x).to(dtype)).numpy(), np.argwhere(x))
    assert F.nonzero(F.zeros((2, 3))).shape == (0, 2)


def test_selection_by_mask() -> None:
    x = with_ties(4, 3)
    assert np.array_equal(F.masked_select(wrap(x), wrap(x > 2)).numpy(), x[x > 2])
    row = np.array([True, False, True])
    assert np.array_equal(F.masked_select(wrap(x), wrap(row)).numpy(), x[:, row].reshape(-1))
    values, places = F.cond_take(wrap(x > 2), wrap(x))
    assert np.array_equal(values.numpy(), x[x > 2])
    assert np.array_equal(places.numpy(), np.flatnonzero(x > 2))
    with pytest.raises(ShapeError, match="mask and x of one shape"):
        F.cond_take(wrap(row), wrap(x))


def test_unique_and_searchsorted() -> None:
    x = with_ties(4, 3)
    values, inverse, counts = F.unique(wrap(x), return_inverse=True, return_counts=True)
    assert np.array_equal(values.numpy(), np.unique(x))
    assert np.array_equal(values.numpy()[inverse.numpy()], x)
    assert counts.numpy().sum() == x.size
    edges = np.array([0.0, 1.0, 1.0, 3.0], dtype=np.float32)
    for right, side in ((False, "left"), (True, "right")):
        got = F.searchsorted(wrap(edges), wrap(x), right)
        assert np.array_equal(got.numpy(), np.searchsorted(edges, x, side))


def test_errors() -> None:
    with pytest.raises(ShapeError, match=r"topk: expected k of at most 3, the size of axis 1 of f32.*got 4"):
        F.topk(F.zeros((2, 3)), 4)
    for k in (0, -1):
        with pytest.raises(ShapeError, match=f"topk: expected k of at least 1, got {k}"):
            F.topk(F.zeros((2, 3)), k)
    with pytest.raises(TypeError, match=r"k as an int, got 1.5 of type float"):
        F.topk(F.zeros((2, 3)), 1.5)
    with pytest.raises(ShapeError, match=r"sort: expected an axis in \[-1, 1\), got 1"):
        F.sort(F.zeros(()), 1)
    with pytest.raises(TraceError, match="shape depends on values"):
        trace(F.nonzero)(F.zeros((2, 3)))


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("tag", ["u8", "s64", "f16", "bf16", "f32", "f64"])
def test_searchsorted_of_rows(tag: str, right: bool) -> None:
    rows = np.sort(RNG.integers(0, 9, (2, 3, 7)), axis=-1)
    x = RNG.integers(0, 9, (2, 3, 4))
    got = F.searchsorted(wrap(rows).to(tag), wrap(x).to(tag), right).numpy()
    side = "right" if right else "left"
    for place in np.ndindex(2, 3):
        assert np.array_equal(got[place], np.searchsorted(rows[place], x[place], side))
    traced = trace(lambda a, b: F.searchsorted(a, b, right))
    assert np.array_equal(traced(wrap(rows), wrap(x)).numpy(), got)


def test_searchsorted_of_many_takes_no_table_of_all_pairs() -> None:
    edges, x = np.arange(200_000.0), RNG.uniform(0, 2e5, 200_000)
    assert np.array_equal(F.searchsorted(wrap(edges), wrap(x)).numpy(), np.searchsorted(edges, x))


def test_searchsorted_of_rows_that_do_not_fit() -> None:
    for values, x in (((2, 3), (3, 4)), ((2, 3), (4,)), ((), (2,))):
        with pytest.raises(ValueError, match="searchsorted: expected sorted values"):
            F.searchsorted(F.zeros(values), F.zeros(x))


@pytest.mark.parametrize("tag", ["s64", "f16", "bf16", "f32"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_unique_slices(axis: int, tag: str) -> None:
    x = RNG.integers(0, 2, (6, 5, 2))
    values, inverse, counts = F.unique(wrap(x).to(tag), axis, return_inverse=True, return_counts=True)
    wanted = np.unique(x, axis=axis, return_counts=True)
    assert np.array_equal(values.to("f32").numpy(), wanted[0]) and np.array_equal(counts.numpy(), wanted[1])
    assert np.array_equal(np.take(wanted[0], inverse.numpy(), axis), x)
    with pytest.raises(ShapeError, match=r"unique: expected an axis in \[-3, 3\), got 3"):
        F.unique(wrap(x), 3)
