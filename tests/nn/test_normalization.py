"""Normalization within a sample."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
from dtrain import nn
from dtrain.base.errors import ShapeError

X = np.random.default_rng(0).standard_normal((2, 6, 4, 5)).astype(np.float32) * 3 + 1


@pytest.mark.parametrize(
    ("layer", "shape", "axes"),
    [
        (nn.LayerNorm(5), X.shape, (3,)),
        (nn.LayerNorm((4, 5), affine=False), X.shape, (2, 3)),
        (nn.GroupNorm(3, 6), (2, 3, 40), (2,)),
        (nn.InstanceNorm2d(6), X.shape, (2, 3)),
        (nn.InstanceNorm2d(6, affine=True), X.shape, (2, 3)),
    ],
    ids=repr,
)
def test_each_part_has_mean_zero_and_variance_one(layer, shape, axes):
    y = layer(dt.tensor(X)).numpy().reshape(shape)
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(axes), 1, atol=1e-3)


def test_rms_norm_has_root_mean_square_one():
    y = nn.RMSNorm(5)(dt.tensor(X)).numpy()
    np.testing.assert_allclose((y**2).mean(-1), 1, atol=1e-3)


@pytest.mark.parametrize("layer", [nn.LayerNorm(5), nn.GroupNorm(2, 6), nn.InstanceNorm2d(6, affine=True)], ids=repr)
def test_scale_and_shift_are_trained(layer):
    plain = layer(dt.tensor(X)).numpy()
    layer.weight.array[...] = 2
    layer.bias.array[...] = 1
    y = layer(dt.tensor(X))
    np.testing.assert_allclose(y.numpy(), 2 * plain + 1, atol=1e-5)
    y.sum().backward()
    assert layer.weight.grad is not None and layer.bias.grad.numpy().sum() == y.size


@pytest.mark.parametrize("is_traced", [False, True])
def test_instance_norm_keeps_running_values_and_evaluates_with_them(is_traced):
    layer = nn.InstanceNorm2d(6, 1e-5, 0.25, track_running_stats=True)
    run = dt.trace(layer) if is_traced else layer
    images = [X, X[:1] * 2]
    mean, variance = np.zeros(6), np.ones(6)
    for batch in images:
        np.testing.assert_allclose(run(dt.tensor(batch)).numpy(), nn.InstanceNorm2d(6)(dt.tensor(batch)).numpy())
        mean = 0.75 * mean + 0.25 * batch.mean((0, 2, 3))
        variance = 0.75 * variance + 0.25 * batch.var((2, 3), ddof=1).mean(0)
    run(dt.tensor(X[:0]))  # of no images there is no mean
    np.testing.assert_allclose(layer.running_mean.numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), variance, rtol=1e-5)
    layer.eval()
    wanted = (X - mean[:, None, None]) / np.sqrt(variance[:, None, None] + 1e-5)
    np.testing.assert_allclose(layer(dt.tensor(X)).numpy(), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer(dt.tensor(X[1])).numpy(), wanted[1], rtol=1e-4, atol=1e-5)


def test_errors():
    with pytest.raises(ShapeError, match=r"GroupNorm: .*got 6 channels in 4 groups"):
        nn.GroupNorm(4, 6)
    with pytest.raises(ShapeError, match=r"x\[N, 3, H, W\]"):
        nn.InstanceNorm2d(3)(dt.tensor(X))


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: nn.LayerNorm(4, **o),
        lambda **o: nn.GroupNorm(2, 4, **o),
        lambda **o: nn.InstanceNorm2d(4, affine=True, **o),
        lambda **o: nn.BatchNorm2d(4, **o),
        lambda **o: nn.SyncBatchNorm(4, **o),
    ],
)
def test_norm_layers_without_a_bias(make):
    x = dt.tensor(np.random.default_rng(0).normal(size=(3, 4, 4, 4)), dtype="f32")
    layer, whole = make(bias=False), make()
    assert [name for name, _ in layer.named_parameters()] == ["weight"] and layer.bias is None
    layer.weight.assign_(dt.tensor([1.0, 2.0, 3.0, 4.0]))
    whole.weight.assign_(dt.tensor([1.0, 2.0, 3.0, 4.0]))
    assert np.array_equal(layer(x).numpy(), whole(x).numpy())
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    if isinstance(layer, nn.BatchNorm2d):
        assert nn.SyncBatchNorm.from_batch_norm(layer).bias is None


def test_instance_norm_has_no_average_over_all_batches():
    with pytest.raises(ValueError, match="InstanceNorm2d: expected momentum as a number, got None"):
        nn.InstanceNorm2d(3, momentum=None, track_running_stats=True)
    nn.InstanceNorm2d(3, momentum=None)  # of no effect
