"""Derivatives by central differences, along one random direction, in f64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Scalar = Callable[[Sequence[np.ndarray]], float]


def directional_derivative(
    function: Scalar, arrays: Sequence[np.ndarray], directions: Sequence[np.ndarray], *, step: float = 1e-5
) -> float:
    """d function(arrays + t · directions) / dt at 0, by differences of fourth order: the error is of order step⁴."""

    def at(t: float) -> float:
        return function([array + t * direction for array, direction in zip(arrays, directions)])

    near, far = at(step) - at(-step), at(2 * step) - at(-2 * step)
    return (8 * near - far) / (12 * step)
