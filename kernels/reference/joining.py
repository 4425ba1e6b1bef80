"""References of concat and pad."""

from __future__ import annotations

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.registry import reference


@reference("concat")
def concat(*inputs: Array, out: Array, axis: int) -> None:
    """The inputs one after another along `axis`."""
    array_module(out).concatenate(inputs, axis=axis, out=out)


@reference("pad")
def pad(x: Array, out: Array, *, pads: tuple[tuple[int, int], ...], value: float) -> None:
    """x in a frame of `value`, `pads` giving (before, after) for each axis."""
    out[...] = value
    out[tuple(slice(before, before + size) for (before, _), size in zip(pads, x.shape))] = x
