"""Elements several times: made of views and gathers, in memory of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.ops.indexing import index_select
from dtrain.ops.shape import apart_from, as_sizes, broadcast_to, flatten, reshape, unsqueeze
from dtrain.opset.infer import as_int, normalize_axis


def repeat(
    x: Tensor,
    repeats: int | Sequence[int] | Tensor,
    axis: int | None = None,
    *,
    output_size: int | None = None,
) -> Tensor:
    """Every element `repeats` times in a row along `axis`; without an axis, of the flattened tensor (as np.repeat).

    Args:
        repeats: one number for all, or integers, one for each place of the axis; a tensor of them works eagerly only.
        output_size: what the size of the axis becomes, if you know it; it is checked.
    """
    x = as_tensor(x)
    if axis is None:
        x, axis = flatten(x), 0
    axis = normalize_axis("repeat", axis, x.ndim)
    if isinstance(repeats, Tensor | Sequence):
        y = _repeat_each(x, repeats, axis)
    else:
        y = _repeat_alike(x, as_int("repeat", "repeats", repeats, 0), axis)
    if output_size is not None and y.shape[axis] != output_size:
        raise ShapeError(expected("repeat", f"output_size {y.shape[axis]}, the sum of repeats", str(output_size)))
    return y


def _repeat_each(x: Tensor, repeats: Sequence[int] | Tensor, axis: int) -> Tensor:
    size, counts = x.shape[axis], np.asarray(repeats.detach().numpy() if isinstance(repeats, Tensor) else repeats)
    if not counts.size:
        counts = counts.astype(np.int64)
    if counts.dtype.kind not in "iu" or counts.ndim > 1 or counts.size not in (1, size) or (counts < 0).any():
        wanted = f"repeats as one integer of at least 0, or {size} of them, one for each place of axis {axis}"
        raise ShapeError(expected("repeat", wanted, f"{counts.dtype}{list(counts.shape)}"))
    places = np.repeat(np.arange(size), counts)
    return index_select(x, axis, as_tensor(places, device=x.device))


def _repeat_alike(x: Tensor, repeats: int, axis: int) -> Tensor:
    before, after = x.shape[: axis + 1], x.shape[axis + 1 :]
    spread = broadcast_to(unsqueeze(x, axis + 1), (*before, repeats, *after))
    return apart_from(x, reshape(spread, (*before[:-1], before[-1] * repeats, *after)))


def tile(x: Tensor, repeats: int | Sequence[int]) -> Tensor:
    """The whole tensor repeated along each axis (as np.tile); missing counts are 1 on the leading axes."""
    counts = as_sizes((repeats,))
    ndim = max(len(counts), x.ndim)
    counts, shape = (1,) * (ndim - len(counts)) + counts, (1,) * (ndim - x.ndim) + x.shape
    if any(count < 0 for count in counts):
        raise ShapeError(expected("tile", "counts of at least 0", str(repeats)))
    apart = reshape(x, tuple(size for own in shape for size in (1, own)))
    spread = broadcast_to(apart, tuple(size for pair in zip(counts, shape) for size in pair))
    return apart_from(x, reshape(spread, tuple(count * own for count, own in zip(counts, shape))))
