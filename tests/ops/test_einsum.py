"""Einstein's notation against NumPy: values, gradients against finite differences by f64, eager and traced, errors."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.base.errors import ShapeError

SIZES = {"a": 2, "b": 3, "c": 4, "d": 1, "i": 2, "j": 3, "k": 4, "B": 5, "A": 3}
RANDOM = np.random.default_rng(0)

EQUATIONS = [
    "i->", "i->i", "ij->ji", "ij->", "ij->j", "ii->", "ii->i", "iji->j", "ijij->ij", "i,i->", "i,j->ij", "ij,jk->ik",
    "ij,kj->ik", "ij,ij->ij", "ij,ij->", "bij,bjk->bik", "bij,bjk->ik", "abi,cbi->ac", "ab,cd->", "ijk,ik->j",
    "ij,jk,kb->ib", "a,b,c->abc", "ij,jk,kb,bi->", "ab,bc,ca->b", "ii,ij->j", "bA,Bb->AB", "ij,i,j->", "aij,jk->aik",
    "a,->a", ",->",
]  # fmt: skip


def operands(equation: str, spread: tuple[int, ...] = ()) -> list[np.ndarray]:
    inputs = equation.split("->")[0].replace(" ", "").split(",")
    shapes = []
    for text in inputs:
        before, dots, after = text.partition("...")
        shapes.append((*(SIZES[c] for c in before), *(spread if dots else ()), *(SIZES[c] for c in after)))
    return [RANDOM.normal(size=shape) for shape in shapes]


def check(equation: str, arrays: list[np.ndarray]) -> None:
    wanted = np.einsum(equation, *arrays)
    given = [dt.tensor(array, dtype="f64", requires_grad=True) for array in arrays]
    result = F.einsum(equation, *given)
    np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(dt.trace(F.einsum)(equation, *given).numpy(), result.detach().numpy())
    factor = RANDOM.normal(size=wanted.shape)
    (result * dt.tensor(factor, dtype="f64")).sum().backward()
    for place, (tensor, array) in enumerate(zip(given, arrays)):
        direction = RANDOM.normal(size=array.shape)  # linear in each operand: a step of 1 is exact
        moved = [*arrays[:place], direction, *arrays[place + 1 :]]
        assert tensor.grad is not None
        slope = (tensor.grad.numpy() * direction).sum()
        np.testing.assert_allclose(slope, (np.einsum(equation, *moved) * factor).sum(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("equation", [e for e in EQUATIONS if "ii" not in e and "iji" not in e])
def test_values_and_gradients_are_numpys(equation: str) -> None:
    check(equation, operands(equation))


@pytest.mark.parametrize("equation", ["ii->", "ii->i", "iji->j", "ijij->ij", "ii,ij->j"])
def test_diagonals(equation: str) -> None:
    check(equation, operands(equation))
    with pytest.raises(ShapeError, match="one size for 'i'"):
        F.einsum(equation, *(dt.zeros(*range(2, 2 + array.ndim)) for array in operands(equation)))


@pytest.mark.parametrize("spread", [(), (3,), (2, 1, 4)])
@pytest.mark.parametrize(
    "equation",
    ["...i->...", "i...,i...->...", "...ij,...jk->...ik", "a...b,b...->...a", "...,...->...", "...i,ij->..."],
)
def test_ellipses(equation: str, spread: tuple[int, ...]) -> None:
    check(equation, operands(equation, spread))


def test_ellipses_of_other_lengths_broadcast() -> None:
    check("...ij,...jk->...ik", [RANDOM.normal(size=(5, 1, 2, 3)), RANDOM.normal(size=(4, 3, 2))])
    check("...,...->...", [RANDOM.normal(size=(4, 1)), RANDOM.normal(size=3)])
    summed = F.einsum("...i->i", dt.ones(2, 3, 4))  # left out of the output: summed, as PyTorch does
    assert summed.tolist() == [6.0] * 4


@pytest.mark.parametrize("equation", ["ij,jk", "ba", "ii", "...ji", "B b , b a", "ij,ij", "a...,...b"])
def test_an_output_that_is_not_written(equation: str) -> None:
    arrays = operands(equation.replace(" ", ""), (2,))
    np.testing.assert_allclose(F.einsum(equation, *arrays).numpy(), np.einsum(equation, *arrays), rtol=1e-12)


def test_sizes_of_one_broadcast_in_products_and_in_sums() -> None:
    a, b = RANDOM.normal(size=(2, 1)), RANDOM.normal(size=(3, 4))
    for output in ("ik", "ijk", "k", "", "jk"):
        wanted = np.einsum(f"ij,jk->{output}", np.broadcast_to(a, (2, 3)), b)
        left, right = dt.tensor(a, dtype="f64", requires_grad=True), dt.tensor(b, dtype="f64")
        result = F.einsum(f"ij,jk->{output}", left, right)
        np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-12)
        result.sum().backward()
        assert left.grad is not None
        np.testing.assert_allclose(left.grad.numpy()[:, 0], np.einsum("ij,jk->i", np.ones((2, 3)), b), rtol=1e-12)


def test_empty_axes() -> None:
    assert F.einsum("ij,jk->ik", dt.zeros(2, 0), dt.zeros(0, 3)).tolist() == [[0.0] * 3] * 2
    assert F.einsum("ij->j", dt.zeros(0, 2)).tolist() == [0.0, 0.0]
    assert F.einsum("bij,bjk->bik", dt.zeros(0, 2, 3), dt.zeros(0, 3, 1)).shape == (0, 2, 1)


def test_other_ways_to_write_it() -> None:
    a, b = RANDOM.normal(size=(2, 3)), RANDOM.normal(size=(3, 4))
    for result in (
        F.einsum("ij,jk", [dt.tensor(a), dt.tensor(b)]),
        F.einsum(a, [0, 1], b, [1, 2], [0, 2]),
        F.einsum(a, [0, 1], b, [1, 2]),
        F.einsum(a, [..., 1], b, [1, 30], [..., 30]),
        dt.einsum("ij, jk -> ik", dt.tensor(a), dt.tensor(b)),
    ):
        np.testing.assert_allclose(result.numpy(), a @ b, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["s32", "s64", "u8"])
def test_products_of_integers_stay_what_they_are_and_sums_are_s64(dtype: str) -> None:
    x = dt.tensor([[1, 2], [3, 4]], dtype=dtype)
    for equation in ("ij,jk->ik", "ij->i", "ii", "ij,ij->"):
        count = equation.split("->")[0].count(",") + 1
        result = F.einsum(equation, *[x] * count)
        assert result.dtype is (x.dtype if count == 2 else dt.int64)
        assert result.tolist() == np.einsum(equation, *[x.numpy()] * count).tolist()


def test_dtypes_are_promoted_as_everywhere() -> None:
    x, y = dt.ones(2, dtype="f16"), dt.ones(2, dtype="f64")
    assert F.einsum("i,i->i", x, y).dtype is dt.float64 and F.einsum("i,i", x, x).dtype is dt.float16


def test_the_order_of_products_keeps_what_is_between_small() -> None:
    """A chain whose ends are vectors never needs a matrix by a matrix, however it is written."""
    n = 40
    parts = {"i": RANDOM.normal(size=n), "ij": None, "jk": None, "k": RANDOM.normal(size=n)}
    arrays = {text: RANDOM.normal(size=(n,) * len(text)) if part is None else part for text, part in parts.items()}
    wanted = np.einsum("i,ij,jk,k->", *arrays.values())
    for order in permutations(arrays):
        traced = dt.trace(lambda *given, order=order: F.einsum(f"{','.join(order)}->", *given))
        result = traced(*(dt.tensor(arrays[text]) for text in order))
        np.testing.assert_allclose(result.numpy(), wanted, rtol=1e-3)
        (graph,) = traced.graphs
        made = [value.type.size for node in graph.nodes if node.op.name == "matmul" for value in node.outputs]
        assert made and max(made) <= n


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: F.einsum("ij,jk", x), "labels for each operand, got 2 in 'ij,jk' and 1"),
        (lambda x: F.einsum("ij"), "labels for each operand"),
        (lambda x: F.einsum("ijk", x), "an operand of 3 axes for 'ijk'"),
        (lambda x: F.einsum("i", x), "an operand of 1 axes"),
        (lambda x: F.einsum("...ijk", x), "at least 3 axes"),
        (lambda x: F.einsum("ij,jk->ik", x, x), "one size for 'j' of 'ij,jk->ik'"),
        (lambda x: F.einsum("...,...", x, x.T), "one size for axis"),
        (lambda x: F.einsum("ij->ijj", x), "each output letter once"),
        (lambda x: F.einsum("ij->k", x), "one of an operand"),
        (lambda x: F.einsum("i1->i", x), "letters, at most one"),
        (lambda x: F.einsum("i......", x), "letters, at most one"),
        (lambda x: F.einsum(x, [0, 60]), "numbers in"),
        (lambda x: F.einsum(x, x), "an equation, or lists"),
    ],
)
def test_errors(call: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        call(dt.zeros(2, 3))


@pytest.mark.parametrize(
    ("shapes", "axes"),
    [
        (((2, 3, 4), (3, 4, 5)), 2), (((2, 3), (4,)), 0), (((2, 3), (3, 2)), ((0, 1), (1, 0))),
        (((2, 3, 4), (4, 2)), ((2,), (0,))),
        (((2, 3), (3, 5)), (1, 0)), (((2, 3), (3, 5)), 1), (((), ()), 0), (((0, 3), (3, 2)), 1),
    ],
)  # fmt: skip
def test_tensordot_is_numpys(shapes: Any, axes: Any) -> None:
    arrays = [RANDOM.normal(size=shape) for shape in shapes]
    np.testing.assert_allclose(F.tensordot(*arrays, axes).numpy(), np.tensordot(*arrays, axes), rtol=1e-12)
    np.testing.assert_allclose(dt.tensordot(*arrays, dims=axes).numpy(), np.tensordot(*arrays, axes), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["u8", "s8", "s16", "s32", "s64"])
def test_tensordot_of_integers_keeps_their_dtype(dtype: str) -> None:
    one = dt.tensor(np.ones((1, 1, 1)), dtype=dtype)
    other = dt.tensor(np.full((2, 1, 2), 100), dtype=dtype)
    result = F.tensordot(one, other, ((0, 1), (2, 0)))  # axes of size 1 stand for those of size 2: they are summed
    assert result.dtype.tag == dtype
    wrapped = np.array([[400]]).astype(result.dtype.numpy)
    np.testing.assert_array_equal(result.numpy(), wrapped)


@pytest.mark.parametrize(
    ("axes", "text"),
    [(3, "a count"), (((0,), (0, 1)), "as many"), (((0, 0), (0, 1)), "different"), (((0,), (1,)), "pairs of one size")],
)
def test_tensordot_errors(axes: Any, text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        F.tensordot(dt.zeros(2, 3), dt.zeros(2, 3), axes)
