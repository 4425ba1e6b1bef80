"""Cases of rank-order reduction: one to five ranks, NaN and infinities, values that overflow short types."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from helpers.kernel_cases.case import SIZES, normal

from dtrain.kernels.call import Call


def rank_order_reduce() -> Iterator[Call]:
    for ranks in (1, 2, 3, 5):
        for size in SIZES:
            arrays = [normal(rank, size, scale=60.0) for rank in range(ranks)]
            for op in ("sum", "mean", "prod", "min", "max"):
                yield Call(
                    label=f"{op} of {ranks} x {size}",
                    inputs=tuple(arrays),
                    attrs={"op": op},
                    outputs=((size,),),
                    aliases={0: ranks - 1},
                )
            for weights in _weights(ranks):
                inputs = tuple(np.where(weight, array, np.nan) for array, weight in zip(arrays, weights))
                yield Call(
                    label=f"weighted {ranks} x {size}",
                    inputs=inputs,
                    attrs={"op": "weighted", "weights": weights},
                    outputs=((size,),),
                    aliases={0: ranks - 1},
                )
    yield from _special_values()


def _weights(ranks: int) -> Iterator[tuple[float, ...]]:
    """Shares of unequal parts, with a part of weight zero, which may hold NaN, at each end and everywhere."""
    total = ranks * (ranks + 1) / 2
    yield tuple((rank + 1) / total for rank in range(ranks))
    yield tuple(rank / total for rank in range(ranks))
    yield tuple((rank + 1) % ranks / total for rank in range(ranks))
    yield (0.0,) * ranks


def _special_values() -> Iterator[Call]:
    specials = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 6e-8, 3e-5, 65504.0, 1e30, -7.0])
    first, second = (array.ravel() for array in np.meshgrid(specials, specials))
    for op in ("sum", "mean", "prod", "min", "max"):
        outputs = ((first.size,),)
        yield Call(label=f"{op} of special values", inputs=(first, second), attrs={"op": op}, outputs=outputs)


CASES = {"rank_order_reduce": rank_order_reduce}
