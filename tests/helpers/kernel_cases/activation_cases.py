"""Cases of activations and their gradients: all signs and kinks, values where exponentials over- or underflow, NaN."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from helpers.kernel_cases.case import SIZES, Case, CaseSource, normal

KINKS = np.array(
    [-200.0, -100.0, -88.0, -6.0, -3.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, 3.0, 6.0, 88.0, 100.0, 200.0, np.nan]
)


def _unary() -> Iterator[Case]:
    for size in SIZES:
        x = normal(1, size, scale=4.0)
        yield Case(label=f"{size}", inputs=(x,), outputs=((x.shape, None),), aliases={0: 0}, magnitude=0.1)
    yield Case(label="kinks", inputs=(KINKS,), outputs=((KINKS.shape, None),), magnitude=0.1)


def _gradient(bounds: tuple[float, float]) -> CaseSource:
    """`bounds` of the output or input the gradient is taken at."""

    def cases() -> Iterator[Case]:
        for size in SIZES:
            at = np.clip(normal(2, size, scale=4.0), *bounds)
            outputs = ((at.shape, None),)
            yield Case(label=f"{size}", inputs=(normal(1, size), at), outputs=outputs, aliases={0: 0}, magnitude=4.0)
        kinks = np.clip(KINKS[:-1], *bounds)  # which branch a NaN takes is not promised
        outputs = ((kinks.shape, None),)
        yield Case(label="kinks", inputs=(normal(1, kinks.size), kinks), outputs=outputs, aliases={0: 1})

    return cases


def _gelu(source: CaseSource, magnitude: float) -> CaseSource:
    """The same values in both forms.

    The reference cancels in 1 + erf(x) and in 1 − tanh²(u), where the latter is multiplied by about x³; what that costs
    the reference is the magnitude.
    """

    def cases() -> Iterator[Case]:
        for case in source():
            for approximate in ("none", "tanh"):
                attrs = {"approximate": approximate}
                yield replace(case, label=f"{case.label} {approximate}", attrs=attrs, magnitude=magnitude)

    return cases


CASES: dict[str, CaseSource] = {
    **dict.fromkeys(("sigmoid", "silu", "hswish", "relu", "relu6"), _unary),
    "gelu": _gelu(_unary, 4.0),
    "gelu_backward": _gelu(_gradient((-np.inf, np.inf)), 64.0),
    "relu_backward": _gradient((0.0, np.inf)),
    "relu6_backward": _gradient((0.0, 6.0)),
    "sigmoid_backward": _gradient((0.0, 1.0)),
    "tanh_backward": _gradient((-1.0, 1.0)),
    "silu_backward": _gradient((-np.inf, np.inf)),
    "hswish_backward": _gradient((-np.inf, np.inf)),
}
