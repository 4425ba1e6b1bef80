"""Reductions: NumPy's values over every kind of axis argument, accumulation, empty inputs, ties, errors."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.autograd.backward_pass import grad
from dtrain.core.tensor_factory import tensor
from dtrain.ops.reduction import spread, sum_to_shape

X = np.random.default_rng(0).normal(size=(3, 4, 5))
AXES = [None, 0, -1, (0, 2), (1,), (-1, 0), ()]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("name", ["sum", "mean", "prod", "max", "min", "any", "all"])
def test_reductions_are_numpys(name, axis, keepdims):
    result = getattr(F, name)(tensor(X), axis, keepdims=keepdims)
    expected = getattr(np, name)(X, axis=axis, keepdims=keepdims)
    assert result.shape == expected.shape
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-13)


def test_methods():
    x = tensor(X)
    np.testing.assert_allclose(x.sum((0, 1)).numpy(), X.sum((0, 1)))
    np.testing.assert_allclose(x.mean().numpy(), X.mean())
    np.testing.assert_allclose(x.amax(1, keepdims=True).numpy(), X.max(1, keepdims=True))


@pytest.mark.parametrize("tag", ["bool", "u8", "s8", "s32"])
def test_integers_add_up_in_s64(tag):
    total = F.sum(tensor(np.full(1000, 1), dtype=tag))
    assert total.dtype.tag == "s64" and total.item() == 1000


def test_integers_are_averaged_as_floats():
    assert F.mean(tensor([1, 2], dtype="s64")).item() == 1.5


@pytest.mark.parametrize("tag", ["f16", "bf16"])
def test_short_floats_add_up_in_f32(tag):
    # In f16 itself the sum of ones stops at 2048, in bf16 at 256.
    assert F.sum(tensor(np.ones(8192), dtype=tag)).item() == 8192.0
    assert F.mean(tensor(np.ones(8192), dtype=tag)).item() == 1.0


def test_empty_inputs():
    empty = tensor(np.zeros((0, 3)))
    assert F.sum(empty, 0).tolist() == [0.0, 0.0, 0.0]
    assert F.prod(empty).item() == 1.0
    assert F.max(empty, 1).shape == (0,)
    assert np.isnan(F.mean(empty).item()) and np.isnan(F.mean(empty, 0).numpy()).all()
    for name in ("max", "min", "logsumexp"):
        with pytest.raises(ValueError, match=f"{name}: expected at least one element along each reduced axis"):
            getattr(F, name)(empty)


def test_equal_extrema_share_the_gradient():
    x = tensor([[2.0, 2.0, 1.0], [0.0, 3.0, 3.0]], requires_grad=True)
    F.max(x, 1).sum().backward()
    assert x.grad.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]


@pytest.mark.parametrize("zeros", [0, 1, 2])
def test_gradient_of_a_product_is_right_at_zeros(zeros):
    x = tensor([0.0] * zeros + [2.0, 3.0], requires_grad=True)
    F.prod(x).backward()
    assert x.grad.tolist() == {0: [3.0, 2.0], 1: [6.0, 0.0, 0.0], 2: [0.0, 0.0, 0.0, 0.0]}[zeros]


@pytest.mark.parametrize(
    ("shape", "axis"), [((70_001,), None), ((2, 70_001), 1), ((5, 257, 60), (1, 2)), ((2049, 3), 0)]
)
@pytest.mark.parametrize("tag", ["f16", "bf16"])
def test_gradient_of_a_mean_over_more_than_a_short_float_counts(tag, shape, axis):
    x = tensor(np.ones(shape, np.float32)).to(tag)
    x.requires_grad_()
    (gradient,) = grad(F.sum(F.mean(x, axis)), [x])
    count = np.ones(shape).size / F.mean(x.detach(), axis).size
    assert gradient.dtype.tag == tag
    np.testing.assert_array_equal(
        gradient.to("f32").numpy(), (tensor(np.full(shape, 1 / count))).to(tag).to("f32").numpy()
    )


def test_logsumexp_neither_overflows_nor_fails_at_infinity():
    x = tensor([[1000.0, 1000.0], [-1000.0, -1001.0], [-np.inf, -np.inf], [np.inf, 0.0]], dtype="f64")
    expected = [1000 + np.log(2), -1000 + np.log1p(np.exp(-1)), -np.inf, np.inf]
    np.testing.assert_allclose(F.logsumexp(x, 1).numpy(), expected)


def test_nan_wins():
    x = tensor([1.0, np.nan, 3.0])
    assert np.isnan(F.max(x).item()) and np.isnan(F.min(x).item())


@pytest.mark.parametrize(
    ("axis", "text"), [(3, r"sum: expected an axis in \[-3, 3\), got 3"), ((0, -3), "each axis once")]
)
def test_bad_axes(axis, text):
    with pytest.raises(ValueError, match=text):
        F.sum(tensor(X), axis)


def test_sum_to_shape_undoes_broadcasting():
    result = sum_to_shape(tensor(X), (4, 1))
    np.testing.assert_allclose(result.numpy(), X.sum(axis=(0, 2))[:, None])
    with pytest.raises(
        ValueError, match=r"sum_to_shape: expected a shape that broadcasts to \(3, 4, 5\), got \(2, 5\)"
    ):
        sum_to_shape(tensor(X), (2, 5))


def test_spread_is_a_view():
    x = tensor(np.arange(3.0))
    wide = spread(x, (1,), (3, 4))
    np.testing.assert_array_equal(wide.numpy(), np.repeat(np.arange(3.0)[:, None], 4, axis=1))
    assert np.shares_memory(wide.numpy(), x.numpy())


@pytest.mark.parametrize("values", [[2.0, 3.0, 4.0], [0.0, 3.0, 4.0], [0.0, 0.0, 4.0], [5.0]])
def test_second_derivatives_of_a_product_are_products_of_the_rest(values):
    """∂²Π/∂xᵢ∂xⱼ = Π of all others, right where elements are zero; the third follows."""
    x = tensor(np.array(values), requires_grad=True)
    (gradient,) = grad(F.prod(x), [x], create_graph=True)
    for i in range(len(values)):
        row = grad(gradient[i], [x], allow_unused=True, retain_graph=True)[0]
        wanted = [0.0 if i == j else np.prod(np.delete(values, [i, j])) for j in range(len(values))]
        np.testing.assert_allclose(np.zeros(len(values)) if row is None else row.numpy(), wanted)
