"""Batch norm over axis 1 of x[N,C,...], cut where ranks have to talk.

Forward: statistics → (merge over ranks) → moments → normalize, update_running. Backward: sums → (sum over ranks) →
data. `stats` is one flat message [count | mean of C | M2 of C], where M2 = Σ(x − mean)²; f64 for f64 input, else f32.
Means and variances are merged by Chan's formula, never taken as E[x²] − E[x]², which loses all digits at large
offsets. A rank may hold zero samples.
"""

from __future__ import annotations

from math import prod

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.precision import store, widen
from dtrain.kernels.registry import reference


def _planes(x: Array) -> Array:
    """x as [N,C,S] in its accumulation dtype."""
    return widen(x).reshape(x.shape[0], x.shape[1], prod(x.shape[2:]))


def _column(per_channel: Array) -> Array:
    """A value per channel, shaped to meet [N,C,S]."""
    return widen(per_channel)[None, :, None]


@reference("batch_norm_statistics")
def batch_norm_statistics(x: Array, out: Array) -> None:
    """stats[2C+1] of this rank's samples: count, mean, M2, by the corrected two-pass formula; zeros for no samples."""
    xp = array_module(x)
    planes = _planes(x)
    channels = x.shape[1]
    count = planes.shape[0] * planes.shape[2]
    out[0] = count
    if count == 0:
        out[1:] = 0
        return
    mean = planes.sum(axis=(0, 2)) / count
    deviation = planes - _column(mean)
    # What rounding left in the mean: subtracting it again makes mean and M2 right to the last few bits.
    residual = deviation.sum(axis=(0, 2))
    out[1 : 1 + channels] = mean + residual / count
    out[1 + channels :] = xp.square(deviation).sum(axis=(0, 2)) - residual * residual / count


@reference("batch_norm_merge")
def batch_norm_merge(gathered: Array, out: Array) -> None:
    """Merge the stats[2C+1] of R ranks, gathered[R,2C+1], in rank order (Chan, Golub, LeVeque 1979)."""
    xp = array_module(gathered)
    channels = (gathered.shape[1] - 1) // 2
    count, mean, m2 = gathered[0, 0], gathered[0, 1 : 1 + channels], gathered[0, 1 + channels :]
    for row in gathered[1:]:
        total = count + row[0]
        share = row[0] / xp.maximum(total, 1)
        delta = row[1 : 1 + channels] - mean
        mean = mean + delta * share
        m2 = m2 + row[1 + channels :] + delta * delta * (count * share)
        count = total
    out[0] = count
    out[1 : 1 + channels] = mean
    out[1 + channels :] = m2


@reference("batch_norm_moments")
def batch_norm_moments(stats: Array, out: tuple[Array, Array, Array], *, eps: float) -> None:
    """(mean, 1/√(variance + eps), variance), each [C]; the variance is the biased one, M2 / count."""
    xp = array_module(stats)
    mean, inverse_std, variance = out
    channels = (stats.shape[0] - 1) // 2
    biased = stats[1 + channels :] / xp.maximum(stats[0], 1)
    mean[...] = stats[1 : 1 + channels]
    variance[...] = biased
    inverse_std[...] = 1 / xp.sqrt(biased + eps)


@reference("batch_norm_normalize", inputs="T A A W W")
def batch_norm_normalize(x: Array, mean: Array, inverse_std: Array, weight: Array, bias: Array, out: Array) -> None:
    """y = (x − mean) · inverse_std · weight + bias."""
    y = (_planes(x) - _column(mean)) * (_column(inverse_std) * _column(weight)) + _column(bias)
    store(out, y.reshape(x.shape))


@reference("batch_norm_update_running")
def batch_norm_update_running(
    running_mean: Array, running_var: Array, stats: Array, out: tuple[Array, Array], *, momentum: float
) -> None:
    """running = (1 − momentum) · running + momentum · new, with the unbiased variance M2 / (count − 1).

    Zero samples leave the running values as they are. `out` may be the inputs themselves.
    """
    xp = array_module(stats)
    channels = (stats.shape[0] - 1) // 2
    weight = momentum * xp.minimum(stats[0], 1)
    unbiased = stats[1 + channels :] / xp.maximum(stats[0] - 1, 1)
    store(out[0], (1 - weight) * widen(running_mean) + weight * stats[1 : 1 + channels])
    store(out[1], (1 - weight) * widen(running_var) + weight * unbiased)


def _normalized(x: Array, mean: Array, inverse_std: Array) -> Array:
    return (_planes(x) - _column(mean)) * _column(inverse_std)


@reference("batch_norm_backward_sums", inputs="T T A A")
def batch_norm_backward_sums(dy: Array, x: Array, mean: Array, inverse_std: Array, out: tuple[Array, Array]) -> None:
    """(Σ dy, Σ dy · x̂) of this rank, [C] each, x̂ the normalized input: the gradients of bias and weight."""
    grad = _planes(dy)
    store(out[0], grad.sum(axis=(0, 2)))
    store(out[1], (grad * _normalized(x, mean, inverse_std)).sum(axis=(0, 2)))


@reference("batch_norm_backward_data", inputs="T T A A W A A A")
def batch_norm_backward_data(
    dy: Array,
    x: Array,
    mean: Array,
    inverse_std: Array,
    weight: Array,
    grad_sums: Array,
    product_sums: Array,
    stats: Array,
    out: Array,
) -> None:
    """dx = weight · inverse_std · (dy − Σdy / m − x̂ · Σ(dy · x̂) / m), m = stats[0] the count over all ranks."""
    xp = array_module(x)
    count = xp.maximum(stats[0], 1)
    centred = _planes(dy) - _column(grad_sums / count)
    centred = centred - _normalized(x, mean, inverse_std) * _column(product_sums / count)
    store(out, (_column(weight) * _column(inverse_std) * centred).reshape(x.shape))
