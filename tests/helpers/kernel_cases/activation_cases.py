"""Cases of activations and their gradients: all signs and kinks, values where exponentials over- or underflow, NaN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from helpers.kernel_cases.case import SIZES, CaseSource, normal

from dtrain.kernels.call import Call
from dtrain.kernels.formula.cpp_text import kernels

KINKS = np.array(
    [-200.0, -100.0, -88.0, -6.0, -3.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, 3.0, 6.0, 88.0, 100.0, 200.0, np.nan]
)


def _unary() -> Iterator[Call]:
    for size in SIZES:
        x = normal(1, size, scale=4.0)
        yield Call(label=f"{size}", inputs=(x,), outputs=(x.shape,), aliases={0: 0}, magnitude=0.1)
    yield Call(label="kinks", inputs=(KINKS,), outputs=(KINKS.shape,), magnitude=0.1)


def _gradient(bounds: tuple[float, float]) -> CaseSource:
    """`bounds` of the output or input the gradient is taken at."""

    def cases() -> Iterator[Call]:
        for size in SIZES:
            at = np.clip(normal(2, size, scale=4.0), *bounds)
            outputs = (at.shape,)
            yield Call(label=f"{size}", inputs=(normal(1, size), at), outputs=outputs, aliases={0: 0}, magnitude=4.0)
        kinks = np.clip(KINKS[:-1], *bounds)  # which branch a NaN takes is not promised
        outputs = (kinks.shape,)
        yield Call(label="kinks", inputs=(normal(1, kinks.size), kinks), outputs=outputs, aliases={0: 1})

    return cases


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


# What an op's output lies between, where its gradient is taken at the output.
OUTPUTS = {
    "relu": (0.0, np.inf),
    "relu6": (0.0, 6.0),
    "sigmoid": (0.0, 1.0),
    "hsigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}


def _of_formulas() -> Iterator[tuple[str, CaseSource]]:
    """Every compiled kernel of `kernels/formula/table.py`."""
    for kernel in kernels():
        op = kernel.name.removesuffix("_backward")
        yield kernel.name, _unary if op == kernel.name else _gradient(OUTPUTS.get(op, (-np.inf, np.inf)))


CASES: dict[str, CaseSource] = {
    **dict(_of_formulas()),
    "gelu": _gelu(_unary, 4.0),
    "gelu_backward": _gelu(_gradient((-np.inf, np.inf)), 64.0),
}
