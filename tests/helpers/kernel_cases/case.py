"""One case of a kernel check: inputs, attributes, and what the outputs look like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray

# 0, 1, around each vector width (4, 8, 16), a prime, one large.
SIZES = (0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 101, 2053)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A call of a kernel.

    `inputs` holds floats in f64, which a check casts to the dtype under test; integers and the 0-d arrays at the
    positions `keep` stay as they are. `outputs` are (shape, dtype), None for the dtype under test. `aliases` maps an
    output to the input it may be written over. `length` and `magnitude` go to the tolerance.
    """

    label: str
    inputs: tuple[Array, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[tuple[tuple[int, ...], str | None], ...]
    aliases: Mapping[int, int] = field(default_factory=dict)
    keep: tuple[int, ...] = ()
    length: int = 1
    magnitude: float = 1.0

    def cast_inputs(self, dtype: np.dtype) -> list[Array]:
        """The inputs as a kernel of `dtype` gets them; fresh copies, so that a kernel may write over them."""
        return [
            array.astype(
                dtype if array.dtype == np.float64 and i not in self.keep else array.dtype, order="C", copy=True
            )
            for i, array in enumerate(self.inputs)
        ]

    def empty_outputs(self, dtype: np.dtype) -> list[Array]:
        """Outputs filled with a value that no result has by chance."""
        return [np.full(shape, 77, dtype if own is None else own) for shape, own in self.outputs]


CaseSource = Callable[[], Iterator[Case]]


def call(kernel: Callable[..., None], inputs: list[Array], outputs: list[Array], attrs: Mapping[str, Any]) -> None:
    """Call a kernel as the framework does: one output bare, several as a tuple."""
    kernel(*inputs, out=outputs[0] if len(outputs) == 1 else tuple(outputs), **attrs)


def normal(seed: int, *shape: int, scale: float = 1.0, offset: float = 0.0) -> Array:
    """Normally distributed f64 values; the seed is part of the case."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return np.asarray(values * scale + offset)
