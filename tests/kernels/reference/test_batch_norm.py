"""The batch norm references against loops, against numeric gradients, and over ranks that hold uneven parts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from helpers.tolerance import assert_close

from dtrain.kernels.reference import batch_norm


def statistics(x, dtype=np.float64):
    stats = np.empty(2 * x.shape[1] + 1, dtype)
    batch_norm.batch_norm_statistics(x, stats)
    return stats


def moments(stats, eps=1e-5):
    channels = (len(stats) - 1) // 2
    out = tuple(np.empty(channels, stats.dtype) for _ in range(3))
    batch_norm.batch_norm_moments(stats, out, eps=eps)
    return out


def test_statistics_of_single_numbers() -> None:
    x = np.random.default_rng(0).standard_normal((3, 2, 2, 2))
    stats = statistics(x)
    for channel in range(2):
        values = [float(v) for v in x[:, channel].ravel()]
        mean = sum(values) / len(values)
        assert stats[0] == 12
        assert stats[1 + channel] == pytest.approx(mean, rel=1e-12)
        assert stats[3 + channel] == pytest.approx(sum((v - mean) ** 2 for v in values), rel=1e-12)


def test_no_samples_give_zeros() -> None:
    assert not statistics(np.empty((0, 3, 4))).any()
    mean, inverse_std, variance = moments(np.zeros(7), eps=0.25)
    assert not mean.any() and not variance.any()
    np.testing.assert_array_equal(inverse_std, 2)


def test_a_large_offset_costs_no_digits() -> None:
    """E[x²] − E[x]² would be off by its own size here."""
    x = (np.arange(64, dtype=np.float32).reshape(16, 1, 4) % 7 + 1e5).astype(np.float32)
    stats = statistics(x, np.float32)
    assert stats[2] == pytest.approx(((x - x.mean(dtype=np.float64)) ** 2).sum(), rel=1e-5)


@pytest.mark.parametrize("parts", [(10,), (4, 6), (1, 0, 9), (0, 0, 10), (3, 3, 3, 1)], ids=str)
def test_merge_equals_the_whole_batch(parts) -> None:
    x = np.random.default_rng(1).standard_normal((10, 3, 4)) + 100
    bounds = np.cumsum((0, *parts))
    gathered = np.stack([statistics(x[a:b]) for a, b in pairwise(bounds)])
    merged = np.empty(7)
    batch_norm.batch_norm_merge(gathered, merged)
    assert_close(merged, statistics(x), length=40, magnitude=100.0)


def test_normalize_centres_and_scales() -> None:
    x = np.random.default_rng(2).standard_normal((8, 3, 5)) * 4 + 7
    mean, inverse_std, _ = moments(statistics(x), eps=0.0)
    y = np.empty_like(x)
    batch_norm.batch_norm_normalize(x, mean, inverse_std, np.full(3, 2.0), np.full(3, -1.0), y)
    np.testing.assert_allclose(y.mean(axis=(0, 2)), -1, atol=1e-12)
    np.testing.assert_allclose(y.std(axis=(0, 2)), 2, rtol=1e-12)


def test_update_running() -> None:
    stats = np.array([5.0, 1.0, 2.0, 8.0, 12.0])
    mean, variance = np.array([10.0, 20.0]), np.array([1.0, 1.0])
    batch_norm.batch_norm_update_running(mean, variance, stats, (mean, variance), momentum=0.25)
    np.testing.assert_allclose(mean, [0.75 * 10 + 0.25, 0.75 * 20 + 0.5])
    np.testing.assert_allclose(variance, [0.75 + 0.25 * 8 / 4, 0.75 + 0.25 * 12 / 4])
    before = mean.copy()
    batch_norm.batch_norm_update_running(mean, variance, np.zeros(5), (mean, variance), momentum=0.25)
    np.testing.assert_array_equal(mean, before)


def test_backward_is_the_gradient() -> None:
    rng = np.random.default_rng(3)
    x, dy, weight, bias = (
        rng.standard_normal((4, 2, 3)),
        rng.standard_normal((4, 2, 3)),
        rng.standard_normal(2),
        rng.standard_normal(2),
    )

    def loss(x, weight, bias):
        mean, inverse_std, _ = moments(statistics(x))
        y = np.empty_like(x)
        batch_norm.batch_norm_normalize(x, mean, inverse_std, weight, bias, y)
        return (y * dy).sum()

    stats = statistics(x)
    mean, inverse_std, _ = moments(stats)
    sums, dx = (np.empty(2), np.empty(2)), np.empty_like(x)
    batch_norm.batch_norm_backward_sums(dy, x, mean, inverse_std, sums)
    batch_norm.batch_norm_backward_data(dy, x, mean, inverse_std, weight, *sums, stats, dx)
    for analytic, position in ((dx, 0), (sums[1], 1), (sums[0], 2)):
        arguments = [x, weight, bias]
        numeric = np.empty_like(arguments[position])
        for at in np.ndindex(*numeric.shape):
            differences = []
            for step in (1e-5, -1e-5):
                moved = [a.copy() for a in arguments]
                moved[position][at] += step
                differences.append(loss(*moved))
            numeric[at] = (differences[0] - differences[1]) / 2e-5
        np.testing.assert_allclose(analytic, numeric, rtol=1e-6, atol=1e-8)
