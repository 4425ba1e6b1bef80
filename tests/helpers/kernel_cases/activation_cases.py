"""Cases of activations and their gradients: all signs and kinks, values where exponentials over- or underflow, NaN."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import numpy as np
from helpers.kernel_cases.case import SIZES, CaseSource, normal

from dtrain.kernels import reference_of
from dtrain.kernels.call import Call
from dtrain.kernels.formula.cpp_text import kernels
from dtrain.kernels.formula.table import Kernel, Y, attributes_of

KINKS = np.array(
    [-200.0, -100.0, -88.0, -6.0, -3.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, 3.0, 6.0, 88.0, 100.0, 200.0, np.nan]
)


def _unary() -> Iterator[Call]:
    for size in SIZES:
        x = normal(1, size, scale=4.0)
        yield Call(label=f"{size}", inputs=(x,), outputs=(x.shape,), aliases={0: 0}, magnitude=0.1)
    yield Call(label="kinks", inputs=(KINKS,), outputs=(KINKS.shape,), magnitude=0.1)


def _gradient(saved: Callable[[np.ndarray], np.ndarray]) -> CaseSource:
    """`saved` makes what the gradient is taken at of values of x."""

    def cases() -> Iterator[Call]:
        for size in SIZES:
            at = saved(normal(2, size, scale=4.0))
            outputs = (at.shape,)
            yield Call(label=f"{size}", inputs=(normal(1, size), at), outputs=outputs, aliases={0: 0}, magnitude=4.0)
        kinks = saved(KINKS[:-1])  # which branch a NaN takes is not promised
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


def _of_formula(kernel: Kernel) -> CaseSource:
    """Inputs of all sizes and at kinks, with each choice of parameters; where a gradient is taken at the output, an
    output that the op gives."""

    def cases() -> Iterator[Call]:
        for attrs in attributes_of(kernel):
            source = _unary if len(kernel.inputs) == 1 else _gradient(_output_of(kernel, attrs))
            for case in source():
                label = " ".join([case.label, *(f"{name}={number}" for name, number in attrs.items())])
                yield replace(case, label=label, attrs=attrs)

    return cases


def _output_of(kernel: Kernel, attrs: Mapping[str, float]) -> Callable[[np.ndarray], np.ndarray]:
    function = reference_of(kernel.name.removesuffix("_backward")).function

    def output(x: np.ndarray) -> np.ndarray:
        y = np.empty_like(x)
        with np.errstate(all="ignore"):
            function(x, out=y, **attrs)
        return y

    return output if kernel.inputs[-1] == Y else np.copy


CASES: dict[str, CaseSource] = {
    **{kernel.name: _of_formula(kernel) for kernel in kernels()},
    "gelu": _gelu(_unary, 4.0),
    "gelu_backward": _gelu(_gradient(np.copy), 64.0),
}
