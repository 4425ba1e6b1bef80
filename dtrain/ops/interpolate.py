"""Images of other sizes: each spatial axis by itself, an element from one, two or four of x by constant weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.ops.average_pool import adaptive_avg_pool2d
from dtrain.ops.indexing import index_select
from dtrain.ops.precision import rounded_once
from dtrain.ops.shape import apart_from, reshape, squeeze, unsqueeze

Mode = Literal["nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic", "area"]
Taps = list[tuple[np.ndarray, np.ndarray]]  # places in x, and their weights, for every place of the result

_NDIMS = {"linear": 3, "bilinear": 4, "trilinear": 5, "bicubic": 4}


@rounded_once
def interpolate(
    x: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: Mode = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> Tensor:
    """x[N, C, …] with other sizes of the axes behind the channels: 1 to 3 of them for "nearest".

    Args:
        size: the new sizes, one for all or one each; or
        scale_factor: by how much they grow, rounded down.
        mode: "nearest" (the element that lies before the place), "nearest-exact" (the nearest to its middle),
            "linear" of one axis, "bilinear" of two, "trilinear" of three, "bicubic" of two, or "area" (the mean of what
            falls into a cell).
        align_corners: of the linear and cubic ones: whether the first and last elements are points that stay where
            they are, or cells whose borders do.
        recompute_scale_factor: take the ratio of the sizes, not `scale_factor`, to find places.
    """
    if mode not in get_args(Mode):
        raise ValueError(expected("interpolate", "mode " + ", ".join(get_args(Mode)), repr(mode)))
    if align_corners is not None and mode in ("nearest", "nearest-exact", "area"):
        raise ValueError(expected("interpolate", f"align_corners left out in mode {mode}", repr(align_corners)))
    if x.ndim not in (3, 4, 5) or x.ndim != _NDIMS.get(mode, x.ndim):
        wanted = f"{_NDIMS.get(mode, '3 to 5')} axes in mode {mode}"
        raise ShapeError(expected("interpolate", wanted, str(x.type)))
    if not mode.startswith("nearest") and not x.dtype.is_floating:
        raise DtypeError(expected("interpolate", f"floats in mode {mode}", str(x.type), "cast with .to('f32')"))
    sizes, factors = _sizes(x, size, scale_factor)
    if recompute_scale_factor:
        if scale_factor is None:
            raise ValueError(expected("interpolate", "recompute_scale_factor beside a scale_factor", "a size"))
        factors = [None] * len(sizes)
    if mode == "area":
        return _means(x, sizes)
    # Where a factor such as 1.1 was cut down to the same size, PyTorch keeps the elements in these modes alone.
    stays = mode in ("linear", "bilinear", "trilinear") or (mode == "nearest" and x.ndim == 4)
    y = x
    for place, (new, factor) in enumerate(zip(sizes, factors)):
        y = _along(y, place + 2, _taps(mode, x.shape[place + 2], new, factor, bool(align_corners), stays))
    return apart_from(x, y)


def _sizes(
    x: Tensor, size: int | Sequence[int] | None, factor: float | Sequence[float] | None
) -> tuple[list[int], list[float | None]]:
    """The new sizes, and for each axis the factor that was asked for."""
    count = x.ndim - 2
    if (size is None) == (factor is None):
        raise ValueError(expected("interpolate", "one of size and scale_factor", "both" if size else "neither"))
    given = size if size is not None else factor
    values = [given] * count if isinstance(given, int | float) else list(given or ())
    if len(values) != count or not all(value > 0 for value in values):
        raise ShapeError(expected("interpolate", f"a number above 0 for each of {count} axes", str(given)))
    if size is not None:
        return [int(value) for value in values], [None] * count
    sizes = [math.floor(old * value) for old, value in zip(x.shape[2:], values)]
    if not all(sizes) or not all(x.shape[1:]):
        raise ShapeError(expected("interpolate", "sizes of at least 1", f"{sizes} of {x.type}"))
    return sizes, [float(value) for value in values]


def _means(x: Tensor, sizes: list[int]) -> Tensor:
    """The mean of what falls into each cell: of one axis as of an image of one row, of three as of images twice."""
    batch, channels, *old = x.shape
    if len(sizes) == 1:
        return squeeze(adaptive_avg_pool2d(unsqueeze(x, 2), (1, sizes[0])), 2)
    if len(sizes) == 2:
        return adaptive_avg_pool2d(x, (sizes[0], sizes[1]))
    planes = adaptive_avg_pool2d(reshape(x, (batch, channels * old[0], *old[1:])), (sizes[1], sizes[2]))
    rows = reshape(planes, (batch, channels, old[0], sizes[1] * sizes[2]))
    return reshape(adaptive_avg_pool2d(rows, (sizes[0], sizes[1] * sizes[2])), (batch, channels, *sizes))


def _along(x: Tensor, axis: int, taps: Taps | None) -> Tensor:
    if taps is None:
        return x
    result: Tensor | None = None
    for places, weights in taps:
        part = index_select(x, axis, as_tensor(places, device=x.device))
        if len(taps) > 1:
            shape = (-1, *(1,) * (x.ndim - axis - 1))
            part = part * reshape(as_tensor(weights, device=x.device).to(x.dtype), shape)
        result = part if result is None else result + part
    assert result is not None
    return result


def _taps(mode: str, old: int, new: int, factor: float | None, align_corners: bool, stays: bool) -> Taps | None:
    """Where the elements of an axis come from; None where they stay."""
    if old == new and (factor is None or stays):
        return None
    if mode.startswith("nearest"):
        return _nearest(old, new, factor, 0.5 if mode == "nearest-exact" else 0.0)
    places = np.arange(new)
    if align_corners:
        middles = places * ((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        middles = (places + 0.5) * (old / new if factor is None else 1 / factor) - 0.5
        if mode != "bicubic":
            middles = np.maximum(middles, 0)
    below = np.floor(middles).astype(np.int64)
    beyond = middles - below
    if mode == "bicubic":
        offsets = range(-1, 3)
        return [(np.clip(below + offset, 0, old - 1), _cubic(np.abs(beyond - offset))) for offset in offsets]
    below = np.minimum(below, old - 1)
    return [(below, 1 - beyond), (np.minimum(below + 1, old - 1), beyond)]


def _nearest(old: int, new: int, factor: float | None, shift: float) -> Taps:
    step = np.float32(old) / np.float32(new) if factor is None else np.float32(1 / factor)
    # In f32, where PyTorch rounds: places that fall between two elements come out as there.
    half = np.float32(shift)
    places = np.floor((np.arange(new, dtype=np.float32) + half) * step - half + half).astype(np.int64)
    return [(np.minimum(places, old - 1), np.ones(new))]


def _cubic(distance: np.ndarray) -> np.ndarray:
    """The weight of an element so far away, with the slope −0.75 at 1 (Keys 1981)."""
    a = -0.75
    near = ((a + 2) * distance - (a + 3)) * distance * distance + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.asarray(np.where(distance <= 1, near, far), np.float64)
