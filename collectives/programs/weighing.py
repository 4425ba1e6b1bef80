"""Reductions in which ranks count differently: Σ wᵣ·xᵣ, and the weighted mean Σ wᵣ·xᵣ / Σ nᵣ.

Every rank shows its own weight wᵣ and count nᵣ (the same number, unless somebody says otherwise) where it shows its
call, so that no message is added. From what all have shown follow the coefficients with which the kernel multiplies
each part as it reads it: for a mean they are at most 1, so nothing overflows that does not overflow in the result. A
rank of weight 0 is not read, whatever it holds. Where all counts are 0 nobody counts more than another: a plain mean.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from dtrain.base.dtype import DType
from dtrain.base.errors import DtypeError, expected

# A number, (weight, count), or an array of these two beside the arrays that are reduced.
Weight = Any
Coefficients = tuple[float, ...]

_SHOWN = struct.Struct("<2d")
SHOWN_BYTES = _SHOWN.size


@dataclass(frozen=True, slots=True)
class Weighted:
    """A weighted reduction before the other ranks' weights are known.

    `pair` holds weight and count where they lie on a device, unknown to the host.
    """

    op: Literal["sum", "mean"]
    weight: float = math.nan
    count: float = math.nan
    pair: Any = None

    def shown(self) -> bytes:
        """What the other ranks have to know."""
        return _SHOWN.pack(self.weight, self.count)

    def coefficients(self, shown: Sequence[bytes]) -> Coefficients:
        """What each rank's array is multiplied with, from what all ranks have shown, in rank order."""
        pairs = [_SHOWN.unpack(other) for other in shown]
        if self.op == "sum":
            return tuple(weight for weight, _ in pairs)
        total = sum(count for _, count in pairs)
        if total == math.inf:  # counts near the largest double, whose quotients are numbers all the same
            pairs = [(weight / len(pairs) / 2, count / len(pairs) / 2) for weight, count in pairs]
            total = sum(count for _, count in pairs)
        if total == 0.0:
            return (1 / len(pairs),) * len(pairs)
        return tuple(weight / total for weight, _ in pairs)


def weighted(where: str, op: str, dtype: DType, weight: Weight) -> Weighted:
    """The weighted reduction `op`, or an error that says why there is none.

    Raises:
        ValueError: an op other than sum and mean, or a weight that is no finite number of at least 0.
        DtypeError: numbers without fractions.
    """
    if op not in ("sum", "mean"):
        raise ValueError(expected(where, "op sum or mean with a weight", repr(op)))
    if not dtype.is_floating:
        raise DtypeError(expected(where, "a floating dtype with a weight", dtype.tag, "cast to f32 first"))
    if hasattr(weight, "__cuda_array_interface__"):
        return Weighted(op, pair=weight)  # type: ignore[arg-type]
    if isinstance(weight, np.ndarray) and weight.shape == (2,):
        weight = (float(weight[0]), float(weight[1]))
    pair = weight if isinstance(weight, tuple) else (weight, weight)
    own, count = pair if len(pair) == 2 else (None, None)
    for number in (own, count):
        if not (isinstance(number, int | float | np.integer | np.floating) and 0 <= number < math.inf):
            raise ValueError(expected(where, "a weight that is a finite number of at least 0", repr(weight)))
    return Weighted(op, float(own), float(count))  # type: ignore[arg-type]
