"""Batch norm layers: modes, running statistics, the exchange over ranks."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn
from dtrain.base.errors import ShapeError

X = np.random.default_rng(0).standard_normal((4, 3, 5, 5)).astype(np.float32) * 2 + 5


def normalized(x, mean, var):
    return (x - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-5)


def test_training_uses_the_batch_and_moves_the_running_values():
    layer = nn.BatchNorm2d(3, momentum=0.25)
    mean, var = X.mean((0, 2, 3)), X.var((0, 2, 3))
    np.testing.assert_allclose(layer(dt.tensor(X)).numpy(), normalized(X, mean, var), atol=1e-4)
    np.testing.assert_allclose(layer.running_mean.numpy(), 0.25 * mean, rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), 0.75 + 0.25 * var * 100 / 99, rtol=1e-5)


def test_evaluation_uses_the_running_values_and_leaves_them():
    layer = nn.BatchNorm2d(3).eval()
    layer.running_mean.array[...] = [1, 2, 3]
    layer.running_var.array[...] = [4, 5, 6]
    wanted = normalized(X, np.array([1, 2, 3]), np.array([4, 5, 6]))
    for scale in (1, 10):
        result = layer(dt.tensor(X * scale)).numpy()
    np.testing.assert_allclose(layer(dt.tensor(X)).numpy(), wanted, rtol=1e-5, atol=1e-5)
    assert layer.running_mean.tolist() == [1, 2, 3] and layer.running_var.tolist() == [4, 5, 6]
    assert np.isfinite(result).all()


def test_a_mode_switch_is_seen_by_a_traced_function():
    layer = nn.BatchNorm2d(3)
    run = dt.trace(lambda x: layer(x))
    training = run(dt.tensor(X)).numpy()
    layer.eval()
    evaluation = run(dt.tensor(X)).numpy()
    np.testing.assert_array_equal(evaluation, layer(dt.tensor(X)).numpy())
    assert np.abs(training - evaluation).max() > 0.1
    layer.train()
    np.testing.assert_array_equal(run(dt.tensor(X)).numpy(), training)
    assert len(run.graphs) == 2


def test_without_parameters_and_running_values():
    layer = nn.BatchNorm2d(3, affine=False, track_running_stats=False)
    assert layer.state_dict() == {}
    np.testing.assert_allclose(
        layer.eval()(dt.tensor(X)).numpy(), normalized(X, X.mean((0, 2, 3)), X.var((0, 2, 3))), atol=1e-4
    )


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (nn.BatchNorm2d(3), (2, 4, 5, 5), r"BatchNorm2d: expected x\[N, 3, …\] of 4 axes, got f32\[2,4,5,5\]"),
        (nn.BatchNorm2d(3), (2, 3), "of 4 axes"),
        (nn.BatchNorm1d(3), (2, 3, 1, 1), "of 2 or 3 axes"),
    ],
)
def test_wrong_inputs(layer, shape, message):
    with pytest.raises(ShapeError, match=message):
        layer(dt.zeros(shape))


@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 4)])
def test_one_dimensional(shape):
    x = dt.tensor(np.random.default_rng(1).standard_normal(shape), dtype="f32")
    y = nn.BatchNorm1d(3)(x).numpy()
    axes = (0, *range(2, len(shape)))
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axes), 1, atol=1e-3)


class OneOtherRank:
    """An exchange with a rank that holds the second half of the batch."""

    def __init__(self, other_stats, other_sums):
        self.other_stats, self.other_sums = other_stats, other_sums

    def combine_statistics(self, stats):
        from dtrain.core.apply import apply
        from dtrain.opset.batch_norm import MERGE

        return apply(MERGE, dt.functional.stack([stats, self.other_stats]))

    def combine_sums(self, grad_sums, product_sums):
        return grad_sums + self.other_sums, product_sums + self.other_sums


def test_sync_batch_norm_sees_the_batches_of_all_ranks(monkeypatch):
    mine, other = X[:1], X[1:]
    rows = other.transpose(1, 0, 2, 3).reshape(3, -1).astype(np.float64)
    stats = np.concatenate([[rows.shape[1]], rows.mean(1), ((rows - rows.mean(1, keepdims=True)) ** 2).sum(1)])
    exchange = OneOtherRank(dt.tensor(stats, dtype="f32"), dt.zeros((3,)))
    monkeypatch.setattr(nn.SyncBatchNorm, "exchange", lambda layer: exchange)
    layer, whole = nn.SyncBatchNorm(3), nn.BatchNorm2d(3)
    np.testing.assert_allclose(layer(dt.tensor(mine)).numpy(), whole(dt.tensor(X)).numpy()[:1], atol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), whole.running_var.numpy(), rtol=1e-5)
    layer.eval()
    np.testing.assert_allclose(layer(dt.tensor(X)).numpy(), whole.eval()(dt.tensor(X)).numpy(), atol=1e-5)


def test_sync_batch_norm_alone_is_batch_norm(monkeypatch):
    monkeypatch.setattr(nn.SyncBatchNorm, "exchange", lambda layer: None)
    x = dt.tensor(X)
    np.testing.assert_array_equal(nn.SyncBatchNorm(3)(x).numpy(), nn.BatchNorm2d(3)(x).numpy())


def test_a_sync_layer_shares_what_it_was_made_from():
    plain = nn.BatchNorm2d(3, eps=1e-3, momentum=0.2).eval()
    layer = nn.SyncBatchNorm.from_batch_norm(plain, group="node")
    assert layer.weight is plain.weight and layer.running_var is plain.running_var
    assert (layer.eps, layer.momentum, layer.group, layer.training) == (1e-3, 0.2, "node", False)
    bare = nn.SyncBatchNorm.from_batch_norm(nn.BatchNorm1d(3, affine=False, track_running_stats=False))
    assert bare.state_dict() == {}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.SyncBatchNorm])
def test_without_momentum_the_running_values_are_the_average_over_batches(kind, traced):
    layer = kind(3, momentum=None)
    forward = dt.trace(lambda x: layer(x)) if traced else layer
    batches = [np.random.default_rng(i).normal(i, 1 + i, (5, 3)).astype(np.float32) for i in range(4)]
    for batch in batches:
        forward(dt.tensor(batch))
    np.testing.assert_allclose(layer.running_mean.numpy(), np.mean([b.mean(0) for b in batches], 0), rtol=1e-5)
    np.testing.assert_allclose(layer.running_var.numpy(), np.mean([b.var(0, ddof=1) for b in batches], 0), rtol=1e-5)
    assert layer.num_batches_tracked.item() == 4
    resumed = kind(3, momentum=None)
    resumed.load_state_dict(layer.state_dict())
    assert resumed.num_batches_tracked.item() == 4
    layer.eval()
    layer(dt.tensor(batches[0]))
    assert layer.num_batches_tracked.item() == 4


def test_an_empty_batch_does_not_count():
    layer = nn.BatchNorm1d(2, momentum=None)
    layer(dt.tensor(np.ones((4, 2), np.float32)))
    layer(dt.tensor(np.ones((0, 2), np.float32)))
    assert layer.num_batches_tracked.item() == 1 and layer.running_mean.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match="batch_norm: expected a momentum or a count of batches, got neither"):
        F.batch_norm(dt.ones((2, 2)), dt.zeros(2), dt.ones(2), training=True, momentum=None)
