"""The sizes of a convolution problem, in either direction, as cost and workspace need them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from dtrain.kernels.problem import Problem


@dataclass(frozen=True, slots=True)
class ConvolutionShape:
    """Counts. `taps` are input channels times kernel size; `weights` are elements of w; `macs` are multiplications."""

    batch: int
    outputs: int
    pixels: int
    taps: int
    weights: int
    macs: int
    is_pointwise: bool


def convolution_shape(problem: Problem) -> ConvolutionShape:
    """Of conv2d (x, w), conv2d_backward_data (dy, w) or conv2d_backward_weights (dy, x)."""
    attrs, second = problem.attrs, problem.inputs[1].shape
    weights = attrs.get("weight_shape", second)
    y = (problem.outputs if problem.op == "conv2d" else problem.inputs)[0].shape
    return ConvolutionShape(
        batch=y[0],
        outputs=weights[0],
        pixels=prod(y[2:]),
        taps=attrs["groups"] * prod(weights[1:]),
        weights=prod(weights),
        macs=prod(y) * prod(weights[1:]),
        is_pointwise=tuple(weights[2:]) == (1, 1) and attrs["stride"] == (1, 1) and attrs["padding"] == (0, 0),
    )
