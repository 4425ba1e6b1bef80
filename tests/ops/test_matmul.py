"""Products against np.matmul, every transpose and 1-d case, and their errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients
from helpers.tolerance import assert_close

import dtrain.functional as F
from dtrain.base.errors import ShapeError
from dtrain.core.tensor import wrap

RNG = np.random.default_rng(1)


def draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 4), (4, 5)),
        ((2, 3, 4), (4, 5)),
        ((2, 1, 3, 4), (5, 4, 2)),
        ((4,), (4,)),
        ((4,), (2, 4, 3)),
        ((2, 3, 4), (4,)),
        ((0, 4), (4, 2)),
        ((3, 0), (0, 2)),
        ((1, 1), (1, 1)),
    ],
)
def test_matmul_equals_numpy(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = draw(*a), draw(*b)
    result = F.matmul(wrap(x), wrap(y))
    np.testing.assert_allclose(result.numpy(), x @ y, rtol=1e-12, atol=1e-12)
    assert result.shape == (x @ y).shape


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_transposed_operands(transpose_a: bool, transpose_b: bool) -> None:
    a = draw(2, 4, 3) if transpose_a else draw(2, 3, 4)
    b = draw(5, 4) if transpose_b else draw(4, 5)

    def product(x, y):
        return F.matmul(x, y, transpose_a=transpose_a, transpose_b=transpose_b)

    wanted = (a.swapaxes(-1, -2) if transpose_a else a) @ (b.T if transpose_b else b)
    np.testing.assert_allclose(product(wrap(a), wrap(b)).numpy(), wanted, rtol=1e-12)
    assert_gradients(product, a, b, second=True)


def test_short_floats_accumulate_in_f32_and_round_once() -> None:
    # 2049 ones: f16 alone would stop counting at 2048.
    ones = wrap(np.ones((1, 4100), dtype=np.float16))
    assert F.matmul(ones, ones.T).item() == 4100
    a, b = draw(7, 300).astype(np.float16), draw(300, 5).astype(np.float16)
    wanted = (a.astype(np.float32) @ b.astype(np.float32)).astype(np.float16)
    assert_close(F.matmul(wrap(a), wrap(b)).numpy(), wanted)


def test_integers_and_promotion() -> None:
    a, b = np.arange(6, dtype=np.int32).reshape(2, 3), np.arange(3, dtype=np.int64)
    result = F.matmul(wrap(a), wrap(b))
    assert result.dtype.tag == "s64"
    assert result.tolist() == (a @ b).tolist()


def test_operator() -> None:
    a, b = draw(2, 3), draw(3, 2)
    assert np.array_equal((wrap(a) @ wrap(b)).numpy(), a @ b)
    assert np.array_equal((wrap(a) @ b).numpy(), a @ b)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(
        ShapeError, match=r"matmul: expected inner sizes to agree, got \(2, 3\) and \(4, 5\); transpose"
    ):
        F.matmul(F.zeros((2, 3)), F.zeros((4, 5)))
    with pytest.raises(ShapeError, match="matmul: expected shapes that broadcast"):
        F.matmul(F.zeros((2, 3, 4)), F.zeros((3, 4, 5)))
    with pytest.raises(ShapeError, match="at least 1 axis"):
        F.matmul(F.zeros(()), F.zeros((4, 5)))


def test_dot_and_outer() -> None:
    a, b = draw(5), draw(5)
    assert F.dot(wrap(a), wrap(b)).shape == ()
    np.testing.assert_allclose(F.dot(wrap(a), wrap(b)).numpy(), a @ b, rtol=1e-12)
    np.testing.assert_allclose(F.outer(wrap(a), wrap(b[:2])).numpy(), np.outer(a, b[:2]), rtol=1e-12)
    assert_gradients(F.dot, a, b, second=True)
    for function in (F.dot, F.outer):
        with pytest.raises(ShapeError, match="two vectors"):
            function(F.zeros((2, 2)), F.zeros(2))


@pytest.mark.parametrize("sizes", list(itertools.product((0, 2), repeat=3)), ids=str)
def test_products_of_nothing_have_gradients(sizes):
    """Where a feature axis is empty, −1 in a reshape means nothing."""
    n, k, m = sizes
    cases = {
        "matmul": (F.matmul, [(2, n, k), (k, m)]),
        "vector": (F.matmul, [(k,), (k, m)]),
        "column": (F.matmul, [(2, n, k), (k,)]),
        "linear": (F.linear, [(2, n, k), (m, k), (m,)]),
    }
    for function, shapes in cases.values():
        leaves = [F.zeros(shape).requires_grad_() for shape in shapes]
        y = function(*leaves)
        y.sum().backward()
        assert not y.numpy().any()
        assert [leaf.grad.shape for leaf in leaves] == shapes
