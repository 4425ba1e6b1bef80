"""Writing by index against NumPy assignment; gradients where places repeat."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients

import dtrain.functional as F
from dtrain.base.errors import ShapeError
from dtrain.core.tensor import wrap
from dtrain.core.tensor_factory import tensor

RNG = np.random.default_rng(8)
X = RNG.normal(size=(4, 5))
ROWS, COLUMNS = np.array([2, 0, -1, 2]), np.array([1, 1, -5, 1])

INDICES = {
    "int": 1,
    "slices": (slice(None, None, 2), slice(3, 0, -1)),
    "rows": ROWS,
    "pairs": (ROWS, COLUMNS),
    "column by rows": (slice(None), COLUMNS),
    "slice and tensor": (slice(1, 3), np.array([0, 3])),
    "mask": X > 0,
    "all": ...,
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES.keys())
def test_set_item_equals_numpy(index) -> None:
    values = RNG.normal(size=X[index].shape)
    wanted = X.copy()
    wanted[index] = values
    x = wrap(X.copy())
    assert np.array_equal(F.set_item(x, index, wrap(values)).numpy(), wanted)
    assert np.array_equal(x.numpy(), X), "the input itself stays"
    wanted[index] = 7
    assert np.array_equal(F.set_item(x, index, 7).numpy()[index], wanted[index])


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES.keys())
def test_add_item_equals_numpy(index) -> None:
    values = RNG.normal(size=X[index].shape)
    wanted = X.copy()
    np.add.at(wanted, index, values)
    np.testing.assert_allclose(F.add_item(wrap(X), index, wrap(values)).numpy(), wanted, rtol=1e-12)


def test_pytorch_names() -> None:
    values = wrap(np.ones(4))
    assert np.array_equal(
        F.index_put(wrap(X), (ROWS, COLUMNS), values).numpy(), F.set_item(wrap(X), (ROWS, COLUMNS), values).numpy()
    )
    wanted = X.copy()
    np.add.at(wanted, (slice(None), ROWS), np.ones((4, 4)))
    np.testing.assert_allclose(F.index_add(wrap(X), 1, wrap(ROWS), F.ones((4, 4), dtype="f64")).numpy(), wanted)


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES.keys())
def test_gradients_of_tensor_and_values(index) -> None:
    values = RNG.normal(size=X[index].shape)
    assert_gradients(lambda v, w: F.set_item(v * v, index, w * w), X, values, second=True)
    assert_gradients(lambda v, w: F.add_item(v * v, index, w * w), X, values, second=True)


def test_broadcast_values() -> None:
    assert_gradients(lambda v, w: F.set_item(v, ROWS, w), X, RNG.normal(size=(5,)))
    assert_gradients(lambda v, w: F.set_item(v, (slice(None), 2), w), X, RNG.normal(size=()))
    with pytest.raises(ShapeError, match=r"set_item: expected .*broadcast"):
        F.set_item(wrap(X), 0, wrap(np.zeros(4)))
    with pytest.raises(ShapeError, match=r"index_put: expected .*broadcast"):
        F.set_item(wrap(X), ROWS, wrap(np.zeros((3, 5))))


def test_assignment_overwrites_state_only() -> None:
    x = wrap(X.copy())
    x[1] = 0.0
    x[ROWS, COLUMNS] = wrap(np.ones(4))
    wanted = X.copy()
    wanted[1] = 0.0
    wanted[ROWS, COLUMNS] = 1.0
    assert np.array_equal(x.numpy(), wanted)
    with pytest.raises(RuntimeError, match=r"a leaf that requires gradients.*set_item"):
        x.requires_grad_()[0] = 1.0


@pytest.mark.parametrize(
    ("index", "values"),
    [
        ([0, 2], [2.0, 4.0]),
        ([0, 2], np.ones((1, 2))),
        ([0, 2], np.ones((2, 1))),
        ([[0, 2]], np.ones((2, 2))),
        (0, [1.0, 2.0]),
    ],
)
def test_index_add_takes_one_slice_an_index(index, values):
    with pytest.raises(ValueError, match=r"index_add: expected an index \[n\] and values \("):
        F.index_add(F.zeros((3, 2)), 0, tensor(index), tensor(values))


def test_index_add_along_any_axis():
    x = F.index_add(F.zeros((2, 3)), -1, tensor([2, 0, 2]), tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    assert x.tolist() == [[2.0, 0.0, 4.0], [5.0, 0.0, 10.0]]
    assert F.index_add(F.zeros((2, 3)), 0, tensor(np.zeros(0, np.int64)), F.zeros((0, 3))).tolist() == [[0.0] * 3] * 2
