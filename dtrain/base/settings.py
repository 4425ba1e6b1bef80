"""PyTorch's switches of how to compute: asked for what is so here they answer, for anything else they refuse.

Results repeat bit for bit, products of f32 are computed in f32, tensors of Python floats are f32 on the CPU: there is
no other way to choose, so a script that asks for these gets them, and none is led to believe in another.
"""

from __future__ import annotations

from dtrain.base.device import CPU, DeviceLike, as_device
from dtrain.base.dtype import DType, DTypeLike, as_dtype, float32
from dtrain.base.errors import expected

_PRECISIONS = ("highest", "high", "medium")


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Taken and without effect: every kernel is deterministic, whatever the mode.

    Args:
        warn_only: there is nothing to warn of.
    """
    if not isinstance(mode, bool):
        raise TypeError(expected("use_deterministic_algorithms", "True or False", repr(mode)))


def are_deterministic_algorithms_enabled() -> bool:
    """True: there are no others."""
    return True


def set_float32_matmul_precision(precision: str) -> None:
    """Taken and without effect: "high" and "medium" allow less precise products of f32, and these are exact ones."""
    if precision not in _PRECISIONS:
        raise ValueError(expected("set_float32_matmul_precision", " or ".join(_PRECISIONS), repr(precision)))


def get_float32_matmul_precision() -> str:
    """`highest`: products of f32 are computed in f32, whatever was allowed."""
    return "highest"


def get_default_dtype() -> DType:
    """f32: what Python's floats become, and tensors made without a dtype."""
    return float32


def set_default_dtype(dtype: DTypeLike) -> None:
    """Taken for f32, which it is. Raises ValueError for others."""
    if as_dtype(dtype) is not float32:
        advice = "give dtype= where tensors are made, or write model.to(dtype)"
        raise ValueError(expected("set_default_dtype", "f32", as_dtype(dtype).tag, advice))


def set_default_device(device: DeviceLike) -> None:
    """Taken for the CPU, which it is. Raises ValueError for others."""
    if as_device(device) != CPU:
        advice = "give device= where tensors are made, or write model.to(device)"
        raise ValueError(expected("set_default_device", "cpu", str(as_device(device)), advice))
