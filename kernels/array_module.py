"""The library that an array belongs to, so that one source serves the host and a GPU."""

from __future__ import annotations

from typing import Any

Array = Any  # a NumPy or a CuPy array


def array_module(array: Array) -> Any:
    """NumPy, or CuPy for an array on a GPU."""
    if type(array).__module__.partition(".")[0] == "cupy":
        import cupy

        return cupy
    import numpy

    return numpy
