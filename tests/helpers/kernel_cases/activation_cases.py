"""Cases of elementwise functions and gradients: all signs, kinks, NaN, values where exponentials over- or underflow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from helpers.kernel_cases.case import SIZES, CaseSource, normal

from dtrain.kernels import reference_of
from dtrain.kernels.call import Call
from dtrain.kernels.formula.cpp_text import kernels
from dtrain.kernels.formula.kernel import Kernel
from dtrain.kernels.formula.row import GRAD, A, B, Row, X, Y
from dtrain.kernels.formula.table import attributes_of, row_of

KINKS = np.array(
    [-200.0, -100.0, -88.0, -6.0, -3.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, 3.0, 6.0, 88.0, 100.0, 200.0, np.nan]
)


def _unary() -> Iterator[Call]:
    for size in SIZES:
        x = normal(1, size, scale=4.0)
        yield Call(label=f"{size}", inputs=(x,), outputs=(x.shape,), aliases={0: 0}, magnitude=0.1)
    yield Call(label="kinks", inputs=(KINKS,), outputs=(KINKS.shape,), magnitude=0.1)


def _gradient() -> Iterator[Call]:
    for size in SIZES:
        at = normal(2, size, scale=4.0)
        outputs = (at.shape,)
        yield Call(label=f"{size}", inputs=(normal(1, size), at), outputs=outputs, aliases={0: 0}, magnitude=4.0)
    kinks = KINKS[:-1]  # which branch a NaN takes is not promised
    outputs = (kinks.shape,)
    yield Call(label="kinks", inputs=(normal(1, kinks.size), kinks), outputs=outputs, aliases={0: 1})


def _gelu(source: CaseSource, magnitude: float) -> CaseSource:
    """The same values in both forms.

    The reference cancels in 1 + erf(x) and in 1 − tanh²(u), where the latter is multiplied by about x³; what that costs
    the reference is the magnitude.
    """

    def cases() -> Iterator[Call]:
        for case in source():
            for approximate in ("none", "tanh"):
                attrs = {"approximate": approximate}
                yield replace(case, label=f"{case.label} {approximate}", attrs=attrs, magnitude=magnitude)

    return cases


def _of_formula(kernel: Kernel) -> CaseSource:
    """Inputs of all sizes and at kinks, within the domain of the row, with each choice of parameters."""

    def cases() -> Iterator[Call]:
        magnitude = 0.1 if kernel.inputs[0] == X else 4.0
        for attrs in attributes_of(kernel):
            given = "".join(f" {name}={number}" for name, number in attrs.items())
            for size in SIZES:
                arrays = _arrays(kernel, attrs, [_drawn(row_of(kernel), seed, size) for seed in (2, 1)])
                outputs = (arrays[0].shape,)
                yield Call(
                    label=f"{size}{given}",
                    inputs=arrays,
                    outputs=outputs,
                    attrs=attrs,
                    aliases={0: 0},
                    magnitude=magnitude,
                )
            kinks = KINKS[:-1] if GRAD in kernel.inputs else KINKS  # which branch a NaN takes is not promised
            kinks = kinks if _is_everywhere(row_of(kernel)) else np.clip(kinks, *row_of(kernel).domain)
            arrays = _arrays(kernel, attrs, [kinks, kinks[::-1].copy()])
            last = {0: len(arrays) - 1}
            outputs = (kinks.shape,)
            yield Call(label=f"kinks{given}", inputs=arrays, outputs=outputs, attrs=attrs, aliases=last, magnitude=0.1)

    return cases


def _is_everywhere(row: Row) -> bool:
    return row.domain == Row.domain


def _drawn(row: Row, seed: int, size: int) -> np.ndarray:
    if _is_everywhere(row):
        return normal(seed, size, scale=4.0)
    return np.random.default_rng(seed).uniform(*row.domain, size)


def _arrays(kernel: Kernel, attrs: Mapping[str, float], values: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The kernel's inputs: `values` of x, or of a and b, and what follows from them."""
    first, second = values
    found = {X: first, A: first, B: second, GRAD: normal(1, first.size)}
    if Y in kernel.inputs:
        found[Y] = np.empty_like(first)
        with np.errstate(all="ignore"):
            reference_of(row_of(kernel).name).function(first, out=found[Y], **attrs)
    return tuple(found[value] for value in kernel.inputs)


CASES: dict[str, CaseSource] = {
    **{kernel.name: _of_formula(kernel) for kernel in kernels()},
    "gelu": _gelu(_unary, 4.0),
    "gelu_backward": _gelu(_gradient, 64.0),
}
