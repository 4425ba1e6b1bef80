"""Cases of batch norm: channels with one and with many elements, large offsets, no samples."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np
from helpers.kernel_cases.case import SIZES, Array, normal

from dtrain.kernels.call import Call

SHAPES = (
    *((3, 2, size) for size in SIZES),
    *((5, size) for size in SIZES),
    (0, 3, 4, 4),
    (2, 0, 3),
    (1, 1),
    (2, 5, 3, 7),
    (4, 3, 2, 3, 5),
)


def _samples(shape: tuple[int, ...]) -> int:
    return shape[0] * prod(shape[2:])


def _stats(shape: tuple[int, ...], seed: int = 5) -> Array:
    """count | mean | M2 of made-up samples of this shape."""
    channels = shape[1]
    count = float(_samples(shape))
    return np.concatenate([[count], normal(seed, channels), np.abs(normal(seed + 1, channels)) * count])


def _moments(channels: int) -> tuple[Array, Array]:
    return normal(7, channels), 0.5 + np.abs(normal(8, channels))


def statistics() -> Iterator[Call]:
    for shape in SHAPES:
        for offset in (0.0, 1000.0):
            count = max(_samples(shape), 1)
            # With an offset, what counts is that M2 keeps its digits: inputs are rounded to multiples of 2^-10,
            # which f32 holds exactly at this magnitude.
            x = np.round(normal(1, *shape, offset=offset) * 1024) / 1024
            yield Call(
                label=f"{shape} offset {offset}",
                inputs=(x,),
                outputs=((2 * shape[1] + 1,),),
                length=count,
                magnitude=1.0,
            )


def merge() -> Iterator[Call]:
    for ranks in (1, 2, 3, 8):
        for channels in SIZES[:-1]:
            shapes = [(3 * (rank % 3), channels, 5) for rank in range(ranks)]
            gathered = np.stack([_stats(shape, seed=10 + 2 * rank) for rank, shape in enumerate(shapes)])
            outputs = ((2 * channels + 1,),)
            label = f"{ranks} ranks, {channels} channels"
            yield Call(label=label, inputs=(gathered,), outputs=outputs, length=ranks, magnitude=50.0)


def moments() -> Iterator[Call]:
    for shape in SHAPES:
        channel = (shape[1],)
        yield Call(label=f"{shape}", inputs=(_stats(shape),), attrs={"eps": 1e-3}, outputs=(channel,) * 3)


def normalize() -> Iterator[Call]:
    for shape in SHAPES:
        channels = shape[1]
        inputs = (normal(1, *shape), *_moments(channels), normal(2, channels), normal(3, channels))
        yield Call(label=f"{shape}", inputs=inputs, outputs=(shape,), aliases={0: 0}, magnitude=8.0)


def update_running() -> Iterator[Call]:
    for shape in SHAPES:
        channels = shape[1]
        yield Call(
            label=f"{shape}",
            inputs=(normal(1, channels), np.abs(normal(2, channels)), _stats(shape)),
            attrs={"momentum": 0.1},
            outputs=((channels,),) * 2,
            aliases={0: 0, 1: 1},
        )


def backward_sums() -> Iterator[Call]:
    for shape in SHAPES:
        yield Call(
            label=f"{shape}",
            inputs=(normal(1, *shape), normal(2, *shape), *_moments(shape[1])),
            outputs=((shape[1],),) * 2,
            length=_samples(shape),
            magnitude=8.0,
        )


def backward_data() -> Iterator[Call]:
    for shape in SHAPES:
        channels = shape[1]
        grad_sums, product_sums = normal(4, 2, channels, scale=float(max(_samples(shape), 1)))
        inputs = (
            *(normal(1, *shape), normal(2, *shape), *_moments(channels), normal(3, channels)),
            *(grad_sums, product_sums, _stats(shape)),
        )
        yield Call(label=f"{shape}", inputs=inputs, outputs=(shape,), aliases={0: 0}, magnitude=64.0)


CASES = {
    "batch_norm_statistics": statistics,
    "batch_norm_merge": merge,
    "batch_norm_moments": moments,
    "batch_norm_normalize": normalize,
    "batch_norm_update_running": update_running,
    "batch_norm_backward_sums": backward_sums,
    "batch_norm_backward_data": backward_data,
}
