"""What cases of kernels are made of: sizes, values, and how a kernel is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from dtrain.kernels.call import Call

Array = np.ndarray

# 0, 1, around each vector width (4, 8, 16), a prime, one large.
SIZES = (0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 101, 2053)


CaseSource = Callable[[], Iterator[Call]]


def call(kernel: Callable[..., None], inputs: list[Array], outputs: list[Array], attrs: Mapping[str, Any]) -> None:
    """Call a kernel as the framework does: one output bare, several as a tuple."""
    kernel(*inputs, out=outputs[0] if len(outputs) == 1 else tuple(outputs), **attrs)


def normal(seed: int, *shape: int, scale: float = 1.0, offset: float = 0.0) -> Array:
    """Normally distributed f64 values; the seed is part of the case."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return np.asarray(values * scale + offset)
