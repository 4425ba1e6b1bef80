"""Layer, group, instance and rms norm against the plain formula, with both derivatives."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients
from helpers.tolerance import assert_close

import dtrain.functional as F
from dtrain.base.errors import ShapeError
from dtrain.capture.trace import trace
from dtrain.core.tensor import wrap

RNG = np.random.default_rng(14)
EPS = 1e-5


def draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def standardize(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + EPS)


@pytest.mark.parametrize(("shape", "normalized"), [((4, 6), (6,)), ((2, 3, 4), (3, 4)), ((5,), (5,)), ((0, 3), (3,))])
def test_layer_norm(shape, normalized) -> None:
    x, weight, bias = draw(*shape), draw(*normalized), draw(*normalized)
    axes = tuple(range(-len(normalized), 0))
    plain = standardize(x, axes)
    assert_normalized = np.testing.assert_allclose
    assert_normalized(F.layer_norm(wrap(x), normalized).numpy(), plain, rtol=1e-10, atol=1e-12)
    full = F.layer_norm(wrap(x), normalized, wrap(weight), wrap(bias))
    assert_normalized(full.numpy(), plain * weight + bias, rtol=1e-10, atol=1e-12)


def test_layer_norm_derivatives() -> None:
    assert_gradients(lambda x, w, b: F.layer_norm(x, 4, w, b), draw(3, 4), draw(4), draw(4), second=True)
    assert_gradients(lambda x, w, b: F.layer_norm(x, (2, 3), w, b), draw(2, 2, 3), draw(2, 3), draw(2, 3))
    assert_gradients(lambda x: F.layer_norm(x, 4), draw(3, 4))


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("shape", [(2, 6), (2, 6, 5), (3, 6, 2, 4)])
def test_group_norm(shape, groups) -> None:
    if groups == shape[1] and len(shape) == 2:
        shape = (2, 6, 3)
    x, weight, bias = draw(*shape), draw(6), draw(6)
    column = (slice(None), *(None,) * (len(shape) - 2))
    plain = standardize(x.reshape(shape[0], groups, -1), (2,)).reshape(shape)
    result = F.group_norm(wrap(x), groups, wrap(weight), wrap(bias))
    np.testing.assert_allclose(result.numpy(), plain * weight[column] + bias[column], rtol=1e-10, atol=1e-12)


def test_group_norm_derivatives() -> None:
    assert_gradients(lambda x, w, b: F.group_norm(x, 2, w, b), draw(2, 4, 3), draw(4), draw(4), second=True)


def test_instance_norm() -> None:
    x = draw(2, 3, 4, 5)
    np.testing.assert_allclose(F.instance_norm(wrap(x)).numpy(), standardize(x, (2, 3)), rtol=1e-10, atol=1e-12)
    assert_gradients(lambda x, w, b: F.instance_norm(x, None, None, w, b), draw(2, 2, 3), draw(2), draw(2))


@pytest.mark.parametrize("dtype", ["f64", "f32", "f16"])
@pytest.mark.parametrize("shape", [(3, 2, 4), (2, 2, 3, 4), (2, 2, 2, 3, 2)])
def test_instance_norm_moves_running_values_and_uses_them(shape, dtype) -> None:
    x, weight, bias = draw(*shape), draw(2), draw(2)
    places = tuple(range(2, len(shape)))
    mean, variance = draw(2), np.abs(draw(2)) + 0.5
    given = [wrap(array.copy()).to(dtype) for array in (mean, variance, weight, bias)]
    x_short = wrap(x).to(dtype)
    rough = {"f64": 1e-9, "f32": 1e-4, "f16": 2e-2}[dtype]

    def run(x, *given):
        y = F.instance_norm(x, *given, momentum=0.25)
        return y, F.instance_norm(x, *given, use_input_stats=False)

    own, by_running = trace(run)(x_short, *given) if dtype == "f64" else run(x_short, *given)
    new_mean = 0.75 * mean + 0.25 * x.mean(places).mean(0)
    new_variance = 0.75 * variance + 0.25 * x.var(places, ddof=1).mean(0)
    np.testing.assert_allclose(given[0].double().numpy(), new_mean, rtol=rough, atol=rough)
    np.testing.assert_allclose(given[1].double().numpy(), new_variance, rtol=rough, atol=rough)
    channels = (slice(None), *(None for _ in places))
    wanted = standardize(x, places) * weight[channels] + bias[channels]
    np.testing.assert_allclose(own.double().numpy(), wanted, rtol=rough, atol=5 * rough)
    normal = (x - new_mean[channels]) / np.sqrt(new_variance[channels] + 1e-5)
    wanted = normal * weight[channels] + bias[channels]
    np.testing.assert_allclose(by_running.double().numpy(), wanted, rtol=rough, atol=5 * rough)
    assert own.dtype is x_short.dtype and not given[0].requires_grad


def test_instance_norm_needs_both_running_values() -> None:
    x, one = F.zeros((2, 3, 4)), F.ones(3)
    for arguments in ((one, None), (None, one)):
        with pytest.raises(ValueError, match="instance_norm: expected running_mean and running_var, or none of them"):
            F.instance_norm(x, *arguments)
    with pytest.raises(ValueError, match="where use_input_stats is False, got none"):
        F.instance_norm(x, use_input_stats=False)
    with pytest.raises(ShapeError, match=r"running values of shape \(3,\), got f32\[4\]"):
        F.instance_norm(x, F.ones(4), F.ones(4))
    F.instance_norm(F.zeros((2, 3, 1)), one, one, use_input_stats=False)  # running values need no places
    F.instance_norm(x[:0], one, one)
    assert one.tolist() == [1, 1, 1]
    assert F.instance_norm(x, weight=one, bias=one * 2).tolist() == F.full((2, 3, 4), 2.0).tolist()
    leaf = wrap(draw(2, 3, 4)).requires_grad_()
    F.instance_norm(leaf, one.double(), one.double()).square().sum().backward()
    assert leaf.grad is not None


def test_rms_norm() -> None:
    x, weight = draw(3, 5), draw(5)
    wanted = x / np.sqrt((x * x).mean(1, keepdims=True) + EPS) * weight
    np.testing.assert_allclose(F.rms_norm(wrap(x), 5, wrap(weight)).numpy(), wanted, rtol=1e-12)
    np.testing.assert_allclose(F.rms_norm(wrap(x), 5).numpy() * weight, wanted, rtol=1e-12)
    assert_gradients(lambda x, w: F.rms_norm(x, 5, w), x, weight, second=True)
    assert_gradients(lambda x, w: F.rms_norm(x, (2, 3), w), draw(2, 2, 3), draw(2, 3))


@pytest.mark.parametrize("dtype", ["f16", "bf16", "f32"])
def test_short_floats_are_rounded_once(dtype: str) -> None:
    x = wrap(draw(4, 64)).to(dtype)
    wide = standardize(x.to("f64").numpy(), (1,))
    assert_close(F.layer_norm(x, 64).numpy(), wrap(wide).to(dtype).numpy(), length=64)
    leaf = x.detach().requires_grad_()
    F.layer_norm(leaf, 64).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.type is x.type


def test_errors() -> None:
    with pytest.raises(ShapeError, match=r"layer_norm: expected weight and bias of shape \(5,\) that end f32\[2,4\]"):
        F.layer_norm(F.zeros((2, 4)), 5)
    with pytest.raises(ShapeError, match="rms_norm: expected weight and bias"):
        F.rms_norm(F.zeros((2, 4)), 5)
    with pytest.raises(ShapeError, match=r"num_groups that divide C.*num_groups=3"):
        F.group_norm(F.zeros((2, 4, 3)), 3)
    with pytest.raises(ShapeError, match=r"weight and bias of shape \(4,\)"):
        F.group_norm(F.zeros((2, 4, 3)), 2, F.zeros(3), F.zeros(3))
    with pytest.raises(ShapeError, match="more than one place per channel"):
        F.instance_norm(F.zeros((2, 4, 1)))
