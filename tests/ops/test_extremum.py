"""The methods that choose along an axis give (values, indices); the functions of that name stay NumPy's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.base.errors import ShapeError

NAN = math.nan
X = np.array(
    [
        [[3.0, 1.0, 3.0, 0.0], [2.0, 2.0, 5.0, 5.0], [-1.0, 7.0, 7.0, 1.0]],
        [[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 1.0, 2.0], [9.0, 8.0, 7.0, 6.0]],
    ]
)


def by_hand(name: str, row: list[float]) -> tuple[Any, Any]:
    """(values, indices) of a row, from the words of the documentation."""
    if name in ("max", "min"):
        value = max(row) if name == "max" else min(row)
        return value, row.index(value)
    if name in ("cummax", "cummin"):
        best = max if name == "cummax" else min
        values = [best(row[: i + 1]) for i in range(len(row))]
        return values, [max(j for j in range(i + 1) if row[j] == values[i]) for i in range(len(row))]
    order = sorted(range(len(row)), key=lambda place: row[place])
    if name == "mode":
        value = max(sorted(set(row)), key=row.count)
        return value, max(place for place in range(len(row)) if row[place] == value)
    place = order[(len(row) - 1) // 2] if name == "median" else order[1]
    return row[place], place


CALLS = {
    "max": lambda x, axis: x.max(axis),
    "min": lambda x, axis: x.min(axis),
    "median": lambda x, axis: x.median(axis),
    "mode": lambda x, axis: x.mode(axis),
    "kthvalue": lambda x, axis: x.kthvalue(2, axis),
    "cummax": lambda x, axis: x.cummax(axis),
    "cummin": lambda x, axis: x.cummin(axis),
}


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "s64", "u8"])
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
@pytest.mark.parametrize("name", CALLS)
def test_values_and_indices(name, axis, dtype):
    numbers = np.abs(X) if dtype == "u8" else X
    x = dt.tensor(numbers).to(dtype)
    values, indices = pair = CALLS[name](x, axis)
    assert pair.values is values and pair.indices is indices
    assert values.dtype is x.dtype and indices.dtype is dt.int64
    rows = np.moveaxis(numbers, axis, -1)
    for place in np.ndindex(rows.shape[:-1]):
        wanted = by_hand(name, rows[place].tolist())
        found = [np.moveaxis(t.numpy(), axis, -1) if "cum" in name else t.numpy() for t in pair]
        assert (found[0][place].tolist(), found[1][place].tolist()) == wanted


@pytest.mark.parametrize("name", ["max", "min", "median", "mode", "kthvalue"])
def test_keepdims_and_one_place(name):
    method = getattr(dt.tensor(X), name)
    pair = method(1, 1, True) if name == "kthvalue" else method(1, True)
    assert pair.values.shape == pair.indices.shape == (2, 1, 4)
    alone = getattr(dt.tensor(5.0), name)
    values, indices = alone(1, 0) if name == "kthvalue" else alone(0)
    assert (values.shape, values.item(), indices.shape, indices.item()) == ((), 5.0, (), 0)


def test_accuracy_as_people_write_it():
    out, labels = dt.tensor([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]), dt.tensor([1, 0, 0])
    _, predicted = out.max(1)
    assert (predicted == labels).to("f32").mean().item() == pytest.approx(2 / 3)
    assert out.max(1)[1].tolist() == out.max(1).indices.tolist() == [1, 0, 1]


def test_functions_stay_numpys():
    x = dt.tensor(X)
    assert np.array_equal(F.max(x, 1).numpy(), X.max(1)) and np.array_equal(F.min(x, (0, 2)).numpy(), X.min((0, 2)))
    assert np.array_equal(x.amax((0, 1)).numpy(), X.max((0, 1))) and x.amin().item() == -1
    assert x.max().item() == 9 and x.min().item() == -1 and x.median().item() == 2
    assert np.array_equal(x.max(dt.tensor(X[::-1].copy())).numpy(), np.maximum(X, X[::-1]))
    assert np.array_equal(x.min(dt.tensor(X[::-1].copy())).numpy(), np.minimum(X, X[::-1]))


def test_sort_and_topk_are_named_too():
    x = dt.tensor([3.0, 1.0, 2.0])
    assert x.sort().indices.tolist() == [1, 2, 0] and F.sort(x).values.tolist() == [1, 2, 3]
    assert x.topk(2).values.tolist() == [3, 2] and F.topk(x, 1).indices.tolist() == [0]


def test_nan_is_found():
    x = dt.tensor([[1.0, NAN, 3.0, NAN], [2.0, 1.0, 0.0, 5.0]])
    assert x.max(1).indices.tolist() == [1, 3] and x.min(1).indices.tolist() == [1, 2]
    median = x.median(1)
    assert math.isnan(median.values[0].item()) and median.indices.tolist() == [1, 1] and median.values[1].item() == 1
    running = x.cummax(1)
    assert running.indices.tolist() == [[0, 1, 1, 3], [0, 0, 0, 3]] and math.isnan(running.values[0, 2].item())


@pytest.mark.parametrize("name", CALLS)
def test_the_chosen_element_takes_the_gradient(name):
    x = dt.tensor(X[0], requires_grad=True)
    pair = CALLS[name](x, 1)
    weights = dt.tensor(np.arange(1.0, 1 + pair.values.size).reshape(pair.values.shape))
    (pair.values * weights).sum().backward()
    wanted = np.zeros_like(X[0])
    chosen = pair.indices.numpy().reshape(3, -1)
    for row in range(3):
        np.add.at(wanted[row], chosen[row], weights.numpy().reshape(3, -1)[row])
    assert np.array_equal(x.grad.numpy(), wanted)
    assert not pair.indices.requires_grad


@pytest.mark.parametrize("name", CALLS)
def test_traced(name):
    x = dt.tensor(X)
    traced, eager = dt.trace(lambda x: CALLS[name](x, 1))(x), CALLS[name](x, 1)
    assert type(traced) is type(eager)
    assert np.array_equal(traced.values.numpy(), eager.values.numpy())
    assert np.array_equal(traced.indices.numpy(), eager.indices.numpy())


def test_bad_axes_are_refused():
    x = dt.tensor(X)
    with pytest.raises(TypeError, match=r"x\.max: expected one axis as an int, got \(0, 1\).*x\.amax\(axes\)"):
        x.max((0, 1))
    with pytest.raises(TypeError, match=r"x\.median: expected one axis as an int"):
        x.median((0, 1))
    with pytest.raises(ShapeError, match="at least one element along the axis"):
        dt.zeros((2, 0)).min(1)
    with pytest.raises(ShapeError, match="k of at most 4"):
        x.kthvalue(5, 2)
    with pytest.raises(ValueError, match="axis"):
        x.max(3)
