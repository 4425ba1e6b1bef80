"""scatter_reduce against loops over single numbers: values, gradients with zeros and with equal elements, dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.cuda_emulation import emulated_module
from helpers.cuda_emulation.emulated_cupy import emulated_cuda
from helpers.function_gradient import assert_gradients

import dtrain as dt
import dtrain.functional as F
from dtrain.base.errors import DtypeError
from dtrain.core.tensor import wrap

RNG = np.random.default_rng(31)
REDUCTIONS: dict[str, Any] = {
    "sum": np.sum,
    "prod": np.prod,
    "mean": np.mean,
    "amax": np.max,
    "amin": np.min,
}
# Places 0 and 2 of an axis of 4 are met several times, 1 once, 3 never.
INDEX = np.array([[0, 2, 0], [2, 0, 0], [0, 2, 1], [2, 2, 0], [2, 1, 0]])


def loops(x: np.ndarray, axis: int, index: np.ndarray, source: np.ndarray, reduce: str, own: bool) -> np.ndarray:
    found: dict[tuple[int, ...], list[Any]] = {}
    for place in np.ndindex(*index.shape):
        target = list(place)
        target[axis] = index[place]
        found.setdefault(tuple(target), []).append(source[place])
    result = x.copy()
    for target, values in found.items():
        numbers = np.array([*([x[target]] if own else []), *values])
        whole = np.floor(np.mean(numbers)) if reduce == "mean" and x.dtype.kind in "iu" else None
        result[target] = REDUCTIONS[reduce](numbers) if whole is None else whole
    return result


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_values_equal_loops(reduce: str, own: bool) -> None:
    for axis, dtype in ((0, "f64"), (0, "f32"), (0, "s64"), (0, "s8"), (1, "f64"), (-1, "s32")):
        kind = dt.as_dtype(dtype).numpy
        shape, index = ((4, 3), INDEX) if axis == 0 else ((3, 4), INDEX.T)
        x, source = (RNG.integers(-3, 4, size).astype(kind) for size in (shape, index.shape))
        wanted = loops(x, axis, index, source, reduce, own)
        for function in (F.scatter_reduce, dt.trace(F.scatter_reduce)):
            got = function(wrap(x), axis, wrap(index), wrap(source), reduce, include_self=own)
            assert got.dtype is dt.as_dtype(dtype)
            np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-6)


def test_methods_and_names_of_pytorch() -> None:
    x, index, source = dt.ones(4, 3), dt.tensor(INDEX), dt.full((6, 4), 2.0)
    wanted = loops(np.ones((4, 3), np.float32), 0, INDEX, np.full((5, 3), 2, np.float32), "prod", True)
    assert np.array_equal(x.scatter_reduce(0, index, source, reduce="prod").numpy(), wanted)
    assert np.array_equal(dt.scatter_reduce(x, dim=0, index=index, src=source, reduce="prod").numpy(), wanted)
    part = dt.full((5, 3), 2.0)
    assert np.array_equal(x.scatter(0, index[:2], part[:2], reduce="multiply").numpy()[0], [2, 2, 4])
    assert x.scatter(0, index[:2], 3.0, reduce="multiply").tolist() == [[3, 3, 9], [1, 1, 1], [3, 3, 1], [1, 1, 1]]
    y = x.clone()
    assert y.scatter_reduce_(0, index, source, "prod") is y and np.array_equal(y.numpy(), wanted)
    assert np.array_equal(x.clone().scatter_(0, index[:2], 3.0, reduce="multiply").numpy()[0], [3, 3, 9])


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_gradients_are_the_numeric_ones(reduce: str, own: bool) -> None:
    x, source = RNG.normal(size=(4, 3)) + 0.3, RNG.normal(size=(5, 3)) + 0.3
    index = wrap(INDEX)
    assert_gradients(
        lambda a, b: F.scatter_reduce(a * a, 0, index, b * b, reduce, include_self=own), x, source, second=True
    )


@pytest.mark.parametrize("zeros", [(), (0,), (1,), (0, 1), (0, 1, 2), (3,)])
def test_products_with_zeros_have_the_slope_of_the_others(zeros: tuple[int, ...]) -> None:
    """Of s₀·s₁·s₂·x, written out; s₃ goes elsewhere."""
    numbers = np.array([2.0, 3.0, 5.0, 7.0])
    numbers[list(zeros)] = 0
    start = np.array([1.5, 0.0])
    x, s = wrap(start).requires_grad_(), wrap(numbers).requires_grad_()
    y = F.scatter_reduce(x, 0, wrap(np.array([0, 0, 0, 1])), s, "prod")
    weights = wrap(np.array([1.0, 10.0]))
    dx, ds = dt.grad((y * weights).sum(), [x, s], create_graph=True)
    a, b, c, d = numbers
    assert dx.tolist() == [a * b * c, 10 * d] and ds.tolist() == [1.5 * b * c, 1.5 * a * c, 1.5 * a * b, 0]
    (second,) = dt.grad((ds * wrap(np.array([1.0, 10.0, 100.0, 0.0]))).sum(), [s])
    assert np.allclose(second.numpy(), [1.5 * (10 * c + 100 * b), 1.5 * (c + 100 * a), 1.5 * (b + 10 * a), 0])


def test_equal_extremes_share_the_gradient() -> None:
    for own, of_x, of_s in ((True, [1 / 3, 1], [1 / 3, 1 / 3, 0]), (False, [0, 1], [0.5, 0.5, 0])):
        for reduce, sign in (("amax", 1.0), ("amin", -1.0)):
            x, s = wrap(np.array([2.0, 7.0]) * sign).requires_grad_(), wrap(np.array([2.0, 2.0, 1.0]) * sign)
            F.scatter_reduce(
                x, 0, wrap(np.zeros(3, int)), s.requires_grad_(), reduce, include_self=own
            ).sum().backward()
            np.testing.assert_allclose(x.grad.numpy(), of_x)
            np.testing.assert_allclose(s.grad.numpy(), of_s)


def test_numbers_that_are_none_and_short_floats() -> None:
    index = dt.tensor([0, 0, 1])
    got = F.scatter_reduce(dt.zeros(3), 0, index, dt.tensor([np.nan, 1.0, 2.0]), "amax")
    assert np.array_equal(got.numpy(), [np.nan, 2, 0], equal_nan=True)
    assert F.scatter_reduce(dt.zeros(3), 0, index, dt.full((3,), -np.inf), "amax", include_self=False).tolist() == [
        -np.inf, -np.inf, 0,
    ]  # fmt: skip
    truths = dt.tensor([True, False, True])
    assert F.scatter_reduce(truths, 0, index, truths, "prod").tolist() == [False, False, True]
    assert F.scatter_reduce(truths, 0, index, truths, "amin", include_self=False).tolist() == [False, True, True]
    many = dt.zeros(4096, dtype="s64")
    for dtype in ("f16", "bf16"):  # 4096 + 1 is no f16, 1.01 ** 4096 no sum of rounded ones
        ones = dt.ones(4096, dtype=dtype)
        assert F.scatter_reduce(dt.ones(2, dtype=dtype), 0, many, ones * 3, "mean").tolist()[0] == 3
        factors = F.concat([ones[:2000] * 2, ones[:2000] * 0.5, ones[:96]])
        factors = F.reshape(F.stack([factors[:2048], factors[2048:]], 1), -1)
        x = dt.ones(2, dtype=dtype)
        y = F.scatter_reduce(x, 0, many, factors, "prod")
        assert y.dtype is dt.as_dtype(dtype)


def test_what_is_refused() -> None:
    x, index, source = dt.zeros(3, 2), dt.zeros(1, 2, dtype="s64"), dt.zeros(1, 2)
    for arguments, kind, text in (
        ((0, index, source, "add"), ValueError, "reduce sum, prod, mean, amax or amin, got 'add'"),
        ((0, index + 3, source, "prod"), ValueError, r"index values in \[0, 3\), got 3"),
        ((0, index, source.double(), "prod"), DtypeError, "inputs of one dtype"),
        ((0, index, source.long(), "sum"), DtypeError, "inputs of one dtype"),
        ((0, source, source, "amax"), DtypeError, "an index of integers"),
        ((0, index, dt.zeros(1, 1), "amax"), ValueError, "index and source of one shape"),
        ((0, dt.zeros(1, 3, dtype="s64"), dt.zeros(1, 3), "mean"), ValueError, "a source no larger than"),
        ((2, index, source, "mean"), ValueError, r"an axis in \[-2, 2\)"),
    ):
        with pytest.raises(kind, match=text):
            F.scatter_reduce(x, *arguments)
    with pytest.raises(DtypeError, match="numbers to take means of"):
        F.scatter_reduce(x.bool(), 0, index, source.bool(), "mean")
    with pytest.raises(DtypeError, match="inputs of one dtype"):
        F.scatter_reduce(x.long(), 0, index, source.int(), "mean")
    with pytest.raises(ValueError, match="reduce 'add', 'multiply' or None, got 'prod'; write scatter_reduce"):
        F.scatter(x, 0, index, source, reduce="prod")


def test_a_gpu_gives_the_same() -> None:
    if emulated_module.COMPILER is None:
        pytest.skip("no host C++ compiler to run the CUDA sources with")
    x, source = RNG.integers(-3, 4, (4, 40)).astype(np.float32), RNG.integers(-3, 4, (50, 40)).astype(np.float32)
    index = RNG.integers(0, 3, (50, 40))
    with emulated_cuda():
        for reduce in REDUCTIONS:
            here, there = (
                [
                    F.scatter_reduce(wrap(x).to(d), 0, wrap(index).to(d), wrap(source).to(d), reduce, include_self=own)
                    for own in (True, False)
                ]
                for d in ("cpu", "cuda:0")
            )
            for a, b in zip(here, there):
                np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=1e-6, err_msg=reduce)
