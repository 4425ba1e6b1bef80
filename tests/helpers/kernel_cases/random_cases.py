"""Cases of random numbers: every way a draw can end inside a block, large counters and keys, the state after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from helpers.kernel_cases.case import SIZES, CaseSource

from dtrain.base.dtype import float32, float64
from dtrain.kernels.call import Call, Typed

STATES = ((0, 0), (-3, 7), (2**62 + 11, 2**33 + 5))


def _draws(attrs: dict[str, Any], magnitude: float) -> CaseSource:
    def cases() -> Iterator[Call]:
        for dtype in (float32, float64):
            for size in SIZES:
                key, offset = STATES[size % len(STATES)]
                yield Call(
                    label=f"{dtype.tag} {size}",
                    inputs=(np.array([key, offset], np.int64),),
                    attrs={**attrs, "dtype": dtype},
                    outputs=(Typed((size,), dtype.numpy.name), Typed((2,), "int64")),
                    aliases={1: 0},
                    magnitude=magnitude,
                )

    return cases


CASES: dict[str, CaseSource] = {
    "uniform": _draws({"low": -1.5, "high": 4.0}, 1.0),
    "normal": _draws({"mean": 0.5, "std": 2.0}, 8.0),
    "dropout_mask": _draws({"p": 0.3}, 1.0),
}
