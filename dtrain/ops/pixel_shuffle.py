"""Channels into finer images, and back (Shi et al. 2016)."""

from __future__ import annotations

from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor
from dtrain.ops.shape import apart_from, permute, reshape
from dtrain.opset.infer import as_int


def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """x[…, C·r², H, W] as […, C, H·r, W·r]: the channels of a place become the r × r places it falls into."""
    r = as_int("pixel_shuffle", "upscale_factor", upscale_factor, 1)
    if x.ndim < 3 or x.shape[-3] % (r * r):
        raise ShapeError(expected("pixel_shuffle", f"channels that divide by {r * r} on axis -3", str(x.type)))
    *batch, channels, height, width = x.shape
    apart = reshape(x, (*batch, channels // (r * r), r, r, height, width))
    n = len(batch)
    mixed = permute(apart, *range(n + 1), n + 3, n + 1, n + 4, n + 2)
    return apart_from(x, reshape(mixed, (*batch, channels // (r * r), height * r, width * r)))


def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """x[…, C, H·r, W·r] as […, C·r², H, W]: `pixel_shuffle` undone."""
    r = as_int("pixel_unshuffle", "downscale_factor", downscale_factor, 1)
    if x.ndim < 3 or x.shape[-1] % r or x.shape[-2] % r:
        raise ShapeError(expected("pixel_unshuffle", f"height and width that divide by {r}", str(x.type)))
    *batch, channels, height, width = x.shape
    apart = reshape(x, (*batch, channels, height // r, r, width // r, r))
    n = len(batch)
    mixed = permute(apart, *range(n + 1), n + 2, n + 4, n + 1, n + 3)
    return apart_from(x, reshape(mixed, (*batch, channels * r * r, height // r, width // r)))
