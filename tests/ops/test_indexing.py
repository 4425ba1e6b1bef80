"""x[...] against NumPy, expression by expression."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients

import dtrain.functional as F
from dtrain.base.errors import DtypeError, ShapeError, TraceError
from dtrain.capture.trace import trace
from dtrain.core.tensor import wrap

RNG = np.random.default_rng(7)
X = RNG.normal(size=(4, 5, 6))
ROWS, COLUMNS = np.array([2, 0, -1, 2]), np.array([1, 1, -5, 4])

BASIC = {
    "int": 1,
    "negative int": -1,
    "NumPy int": np.int64(2),
    "slice": slice(1, 3),
    "step": (slice(None, None, 2), slice(4, 0, -2)),
    "open": slice(None),
    "reverse": slice(None, None, -1),
    "beyond the end": slice(2, 99),
    "empty": slice(3, 1),
    "ellipsis": (..., 0),
    "ellipsis inside": (0, ..., slice(1, 3)),
    "ellipsis alone": ...,
    "new axes": (None, slice(None), None, 2),
    "all ints": (1, 2, 3),
    "empty tuple": (),
}
MASK = X[:, :, 0] > 0
ADVANCED = {
    "one": ROWS,
    "list": [0, 2, 2],
    "second axis": (slice(None), COLUMNS),
    "two": (ROWS, COLUMNS),
    "apart": (ROWS, slice(None), COLUMNS),
    "broadcast": (ROWS[:, None], COLUMNS[None, :]),
    "with slice": (slice(1, 3), COLUMNS[:2], slice(None, None, 2)),
    "with new axis": (None, ROWS),
    "0-d": np.array(1),
    "empty": np.zeros(0, dtype=np.int64),
    "mask": X > 0.5,
    "mask of leading axes": MASK,
    "mask of one axis": (slice(None), np.array([True, False, True, True, False])),
    "mask and ints": (np.array([True, False, True, False]), np.array([1, 2])),
    "list of bools": [True, False, False, True],
}


@pytest.mark.parametrize("index", BASIC.values(), ids=BASIC.keys())
def test_basic_index_is_a_view(index) -> None:
    x = wrap(X.copy())
    result = x[index]
    assert result.shape == X[index].shape
    assert np.array_equal(result.numpy(), X[index])
    if result.size:
        assert np.shares_memory(result.numpy(), x.numpy())


@pytest.mark.parametrize("index", ADVANCED.values(), ids=ADVANCED.keys())
def test_advanced_index_equals_numpy(index) -> None:
    result = wrap(X)[index]
    assert np.array_equal(result.numpy(), X[index])
    assert not np.shares_memory(result.numpy(), X)


def test_tensors_as_index() -> None:
    x = wrap(X)
    assert np.array_equal(x[wrap(ROWS)].numpy(), X[ROWS])
    assert np.array_equal(x[wrap(ROWS), 1:, wrap(COLUMNS)].numpy(), X[ROWS, 1:, COLUMNS])
    assert np.array_equal(x[x > 0].numpy(), X[X > 0])
    assert np.array_equal(x[wrap(np.int64(2))].numpy(), X[2])


def test_an_int_is_taken_before_tensors() -> None:
    assert np.array_equal(wrap(X)[0, :, ROWS].numpy(), X[0][:, ROWS])


def test_iteration_and_length() -> None:
    assert len(wrap(X)) == 4
    assert [row.shape for row in wrap(X)] == [(5, 6)] * 4


@pytest.mark.parametrize(
    ("index", "error", "text"),
    [
        (4, IndexError, r"an int in \[-4, 4\) for axis 0, got 4"),
        ((0, -6), IndexError, r"for axis 1, got -6"),
        ((0, 0, 0, 0), IndexError, "at most 3 indices"),
        ((..., ...), IndexError, "at most one Ellipsis"),
        ("a", IndexError, "ints, slices, None, Ellipsis"),
        (1.0, IndexError, "ints, slices, None, Ellipsis"),
        (slice(None, None, 0), ValueError, "a slice step that is not 0"),
        (np.array([0.5]), DtypeError, "integer tensors as index"),
        (np.array([4]), IndexError, "take: expected index values from -4 to 3 for axis 0 of size 4, got 4"),
        (np.array([True, False]), IndexError, r"a mask of shape \(4,\)"),
        ((np.array([0, 1]), np.array([0, 1, 2])), ShapeError, "shapes that broadcast"),
    ],
)
def test_index_errors(index, error, text) -> None:
    with pytest.raises(error, match=text):
        wrap(X)[index]


def test_mask_in_a_trace_names_the_way_out() -> None:
    @trace
    def positive(x):
        return x[x > 0]

    with pytest.raises(TraceError, match=r"test_indexing.py:\d+.*shape depends on values.*where"):
        positive(wrap(X))


def test_traced_index_equals_eager() -> None:
    @trace
    def mixed(x):
        return x[1:, ::-2, 0], x[ROWS, :, COLUMNS]

    for got, wanted in zip(mixed(wrap(X)), (X[1:, ::-2, 0], X[ROWS, :, COLUMNS])):
        assert np.array_equal(got.numpy(), wanted)


def test_narrow_and_index_select() -> None:
    assert np.array_equal(F.narrow(wrap(X), 1, 2, 3).numpy(), X[:, 2:5])
    assert np.array_equal(F.index_select(wrap(X), -1, wrap(ROWS)).numpy(), X[:, :, ROWS])
    with pytest.raises(ShapeError, match=r"narrow: expected a part of \[0, 5\)"):
        F.narrow(wrap(X), 1, 3, 3)
    with pytest.raises(ShapeError, match="an index of at most 1 axis"):
        F.index_select(wrap(X), 0, wrap(ROWS[:, None]))


def test_gradients() -> None:
    x = RNG.normal(size=(4, 5))
    for index in (2, (slice(None, None, -2), None, slice(1, 4)), ROWS, (slice(None), COLUMNS), (ROWS, COLUMNS), x > 0):
        assert_gradients(lambda v, index=index: (v * v)[index], x, second=True)


def test_repeated_rows_add_up_in_short_floats() -> None:
    # 3000 times 1 in f16 arithmetic would stop at 2048.
    x = wrap(np.zeros((2, 3), dtype=np.float16)).requires_grad_()
    x[np.zeros(3000, dtype=np.int64)].sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[3000.0] * 3, [0.0] * 3]
