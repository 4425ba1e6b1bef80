"""Tensor factory: shapes, dtypes, values, errors; the same inside a trace."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.base.dtype import ALL
from dtrain.base.errors import ShapeError
from dtrain.core.tensor_factory import as_shape

MADE = [
    (lambda: dt.zeros(3), np.zeros(3, np.float32)),
    (lambda: dt.zeros((2, 0), dtype="s8"), np.zeros((2, 0), np.int8)),
    (lambda: dt.ones([2, 2]), np.ones((2, 2), np.float32)),
    (lambda: dt.full((), 2), np.array(2)),
    (lambda: dt.full(2, 2.5), np.full(2, 2.5, np.float32)),
    (lambda: dt.full(2, True), np.full(2, True)),
    (lambda: dt.full(2, -0.0), np.full(2, -0.0, np.float32)),
    (lambda: dt.full(2, 1, dtype="f64"), np.ones(2)),
    (lambda: dt.full_like(dt.zeros(2, dtype="u8"), 7), np.full(2, 7, np.uint8)),
    (lambda: dt.zeros_like(dt.ones((1, 2))), np.zeros((1, 2), np.float32)),
    (lambda: dt.ones_like(dt.zeros(2), dtype="bool"), np.ones(2, bool)),
    (lambda: dt.eye(2), np.eye(2, dtype=np.float32)),
    (lambda: dt.eye(2, 3, dtype="s64"), np.eye(2, 3, dtype=np.int64)),
    (lambda: dt.arange(4), np.arange(4)),
    (lambda: dt.arange(1, 6, 2), np.arange(1, 6, 2)),
    (lambda: dt.arange(3, 0, -1), np.arange(3, 0, -1)),
    (lambda: dt.arange(0, 1, 0.25), np.arange(0, 1, 0.25, np.float32)),
    (lambda: dt.arange(5, 2), np.arange(5, 2)),
    (lambda: dt.linspace(0, 1, 5), np.linspace(0, 1, 5, dtype=np.float32)),
    (lambda: dt.linspace(2, 3, 1), np.array([2], np.float32)),
    (lambda: dt.linspace(0, 1, 0), np.zeros(0, np.float32)),
]


@pytest.mark.parametrize(("make", "wanted"), MADE, ids=range(len(MADE)))
@pytest.mark.parametrize("traced", [False, True])
def test_values(make, wanted: np.ndarray, traced: bool) -> None:
    got = (dt.trace(make) if traced else make)().numpy()
    assert (got.shape, got.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_array_equal(got, wanted)
    if wanted.dtype.kind == "f":
        assert (np.signbit(got) == np.signbit(wanted)).all()


@pytest.mark.parametrize("dtype", ALL, ids=str)
def test_every_dtype(dtype) -> None:
    assert dt.ones(2, dtype=dtype).dtype is dtype
    assert dt.eye(2, dtype=dtype).to("f32").tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("shape", ["ab", 1.5, (1.5,), None, (2, "x")], ids=repr)
def test_what_is_no_shape(shape: object) -> None:
    with pytest.raises(ShapeError, match="zeros: expected a size or a tuple of sizes, got"):
        dt.zeros(shape)  # type: ignore[arg-type]


def test_sizes_are_not_negative() -> None:
    with pytest.raises(ShapeError, match=r"ones: expected sizes of at least 0, got \(2, -1\)"):
        dt.ones((2, -1))
    with pytest.raises(ShapeError, match="arange: expected a step that is not 0"):
        dt.arange(0, 3, 0)


def test_as_shape_takes_what_has_an_index() -> None:
    assert as_shape((np.int64(2), dt.tensor(3)), "here") == (2, 3)
    assert as_shape(4, "here") == (4,)


def test_tensor_copies_and_may_require_gradients() -> None:
    source = dt.tensor([1.0, 2.0])
    copied = dt.tensor(source, dtype="f64", requires_grad=True)
    assert copied.requires_grad
    assert not source.requires_grad
    same_type = dt.tensor(source)
    same_type.assign_(dt.zeros(2))
    assert source.tolist() == [1, 2]


def test_a_copy_inside_a_trace_is_a_copy_too() -> None:
    source = dt.tensor([1.0])

    @dt.trace
    def step():
        copied = dt.tensor(source, requires_grad=True)
        copied.assign_(copied.detach() * 5)
        return copied

    assert step().tolist() == [5]
    assert source.tolist() == [1]
    assert not source.requires_grad


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize(
    "made",
    [
        lambda x: dt.tensor([1, 300], dtype="u8"), lambda x: dt.tensor(-1, dtype="u8"),
        lambda x: dt.tensor([[-129]], dtype="s8"), lambda x: dt.tensor([1.0, math.nan], dtype="s64"),
        lambda x: dt.tensor(2.0**63, dtype="s64"), lambda x: dt.full((2,), 300, dtype="u8"),
        lambda x: dt.full((2,), 2**70),
        lambda x: dt.full_like(x, -1), lambda x: dt.arange(250, 260, dtype="u8"),
        lambda x: dt.arange(3, -3, -2, dtype="u8"),
        lambda x: F.linspace(0, 300, 3, dtype="u8"), lambda x: x.fill_(300), lambda x: x.__setitem__(0, 300),
        lambda x: x.__setitem__(slice(2), [1, -1]), lambda x: x.__setitem__(dt.tensor([1, 0]), 256),
        lambda x: F.masked_fill(x, dt.tensor([True, False]), 300), lambda x: F.pad(x, (1, 1), value=300),
        lambda x: F.scatter(x, 0, dt.tensor([0]), 300),
    ],
)  # fmt: skip
def test_numbers_that_an_integer_dtype_does_not_hold(made: Callable[..., object], traced: bool) -> None:
    """Neither wrapped around in silence nor NumPy's text; as beside a tensor (`x + 300`)."""

    def step(x: dt.Tensor) -> dt.Tensor:
        made(x)
        return x

    with pytest.raises(OverflowError, match=r"expected numbers from -?\d+ to \d+ for dtype [us]\d+, got"):
        (dt.trace(step) if traced else step)(dt.zeros((2,), dtype="u8"))


def test_numbers_at_the_ends_of_a_dtype() -> None:
    for tag, low, high in (("u8", 0, 255), ("s8", -128, 127), ("s64", -(2**63), 2**63 - 1)):
        assert dt.tensor([low, high], dtype=tag).tolist() == [low, high]
        assert dt.full((1,), high, dtype=tag).tolist() == [high]
    assert dt.arange(250, 256, dtype="u8").tolist() == [250, 251, 252, 253, 254, 255]
    assert dt.arange(5, 0, 300, dtype="u8").tolist() == []
    assert dt.tensor([255.9, -0.9], dtype="u8").tolist() == [255, 0]
    assert dt.tensor(np.array([300]), dtype="u8").tolist() == [44]  # an array is cast
    assert dt.full((1,), 1e9, dtype="f16").tolist() == [math.inf]
