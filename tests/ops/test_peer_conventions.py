"""What PyTorch's scripts write and NumPy's would not: memory formats, axes of numbers, integers, widths left out."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn
from dtrain.base.errors import DtypeError, ShapeError

FORMATS = [dt.contiguous_format, dt.preserve_format, dt.channels_last, dt.channels_last_3d]


@pytest.mark.parametrize("memory_format", FORMATS)
def test_memory_formats_change_nothing(memory_format) -> None:
    x = dt.tensor(np.arange(24.0).reshape(2, 3, 2, 2))
    assert x.to(memory_format=memory_format) is x
    for y in (
        x.to("f64", memory_format=memory_format),
        x.contiguous(memory_format=memory_format),
        x.clone(memory_format=memory_format),
        x.double(memory_format=memory_format),
        x.cpu(memory_format=memory_format),
    ):
        assert y.shape == x.shape
        assert y.tolist() == x.tolist()
    for make in (dt.zeros_like, dt.ones_like, dt.empty_like, dt.rand_like, dt.randn_like):
        assert make(x, memory_format=memory_format).shape == x.shape
    assert dt.full_like(x, 2, memory_format=memory_format).shape == x.shape
    model = nn.Conv2d(3, 4, 1)
    assert model.to(memory_format=memory_format) is model
    assert model.to("f64", memory_format=memory_format).weight.dtype is dt.float64


def test_nothing_to_move_to_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Linear.to\(\): expected a dtype or a device, got nothing"):
        nn.Linear(1, 1).to()


@pytest.mark.parametrize("axis", [0, -1, (0,), [-1]])
def test_a_number_has_one_element_along_the_axis_that_it_lacks(axis) -> None:
    x = dt.tensor(3.0, requires_grad=True)
    for function in (F.sum, F.mean, F.max, F.min, F.logsumexp, F.prod):
        assert function(x, axis).shape == ()
        np.testing.assert_allclose(function(x, axis, keepdims=True).item(), 3.0)
        (slope,) = dt.grad(function(x, axis), x)
        assert slope.item() == 1.0
    assert F.any(x, axis).item() is True
    assert F.flip(x, axis).item() == 3.0
    assert F.norm(x, axis=axis).item() == 3.0


@pytest.mark.parametrize("axis", [1, -2, (0, -1), (0, 1)])
def test_other_axes_of_a_number_are_refused(axis) -> None:
    for function in (F.sum, F.max, F.logsumexp):
        with pytest.raises(ShapeError, match=r"expected (an axis in|each axis once)"):
            function(dt.tensor(3.0), axis)


def test_integers_where_pytorch_takes_them() -> None:
    x = dt.tensor([-2, 0, 3])
    assert F.relu(x).tolist() == [0, 0, 3]
    assert F.relu(x).dtype is dt.int64
    assert F.relu(dt.tensor([3, 0], dtype=dt.uint8)).dtype is dt.uint8
    assert F.relu6(dt.tensor([-2, 3, 200], dtype=dt.int16)).tolist() == [0, 3, 6]
    assert F.relu6(dt.tensor([3, 200], dtype=dt.uint8)).tolist() == [3, 6]
    assert F.relu6(dt.tensor([3, 200], dtype=dt.uint8)).dtype is dt.uint8
    for function in (F.sigmoid, F.logsumexp):
        for given in (x, x > 0):
            assert function(given).dtype is dt.float32
            np.testing.assert_array_equal(function(given).numpy(), function(given.to("f32")).numpy())
    with pytest.raises(DtypeError, match="relu"):
        F.relu(x > 0)


def test_one_hot_as_wide_as_the_largest_number_asks_for() -> None:
    numbers = np.array([[0, 3], [1, 1]])
    assert np.array_equal(F.one_hot(dt.tensor(numbers)).numpy(), np.eye(4, dtype=np.int64)[numbers])
    assert F.one_hot(dt.tensor(numbers), -1, dtype="f32").shape == (2, 2, 4)
    with pytest.raises(ValueError, match="one_hot: expected num_classes where there is no class number"):
        F.one_hot(dt.tensor(numbers[:0]))
    with pytest.raises(DtypeError, match="one_hot"):
        F.one_hot(dt.tensor([0.5]))
    with pytest.raises(dt.errors.TraceError):
        dt.trace(F.one_hot)(dt.tensor(numbers))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_smooth_l1_of_beta_0_is_l1(reduction) -> None:
    a, b = (dt.tensor(values, requires_grad=True) for values in ([1.0, -2.0, 0.5], [0.5, 3.0, 0.5]))
    mine, other = F.smooth_l1_loss(a, b, beta=0, reduction=reduction), F.l1_loss(a, b, reduction=reduction)
    assert mine.tolist() == other.tolist()
    assert [g.tolist() for g in dt.grad(mine.sum(), [a, b])] == [g.tolist() for g in dt.grad(other.sum(), [a, b])]
    for beta in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="smooth_l1_loss: expected beta of at least 0"):
            F.smooth_l1_loss(a, b, beta=beta)


def test_to_takes_what_pytorch_takes_by_position() -> None:
    x = dt.tensor([1.5, 2.5])
    other = dt.zeros(1, dtype="f64")
    for same in (x.to("cpu", "f32", True, False), x.to("f32", False), x.to(x), x.to("cpu", non_blocking=True)):
        assert same is x
    for copied in (
        x.to("cpu", "f32", False, True), x.to("f32", False, True), x.to(x, False, True), x.to("cpu", copy=True),
        x.to("f32", copy=True), x.to("f32", True, copy=True), x.to(device="cpu", dtype="f32", copy=True),
        x.to(copy=True),
    ):  # fmt: skip
        assert copied is not x and copied.type is x.type
        copied.zero_()
        assert x.tolist() == [1.5, 2.5]
    for cast in (x.to("cpu", "f64", True, True), x.to("f64", True, True), x.to(other, False, True), x.to(other=other)):
        assert cast.dtype is dt.float64 and cast.tolist() == [1.5, 2.5]
    assert x.to("f64", copy=True).dtype is dt.float64 and x.to(bool).tolist() == [True, True]
    p = dt.Parameter([1.0, 2.0])
    (p.to("f32", copy=True) * 3).sum().backward()
    assert p.grad.tolist() == [3, 3]
    with pytest.raises(TypeError, match=r"x\.to\(\): expected a dtype, a device or a tensor, got nothing"):
        x.to()
