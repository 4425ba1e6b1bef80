"""NCCL as CuPy brings it, and what it calls element types and reductions."""

from __future__ import annotations

from typing import Any

from dtrain.base.errors import DeviceError, expected

# Names of NCCL's constants. Booleans reduce as bytes of 0 and 1.
TYPES = {
    "bool": "NCCL_UINT8",
    "u8": "NCCL_UINT8",
    "s8": "NCCL_INT8",
    "s32": "NCCL_INT32",
    "s64": "NCCL_INT64",
    "f16": "NCCL_FLOAT16",
    "bf16": "NCCL_BFLOAT16",
    "f32": "NCCL_FLOAT32",
    "f64": "NCCL_FLOAT64",
}
OPS = {"sum": "NCCL_SUM", "mean": "NCCL_SUM", "prod": "NCCL_PROD", "min": "NCCL_MIN", "max": "NCCL_MAX"}
BOOL_OPS = {"sum": "NCCL_MAX", "max": "NCCL_MAX", "prod": "NCCL_MIN", "min": "NCCL_MIN"}


def load() -> tuple[Any, Any]:
    """CuPy and its NCCL module.

    Raises:
        DeviceError: one of them is missing.
    """
    try:
        import cupy
        from cupy.cuda import nccl
    except ImportError as error:
        raise DeviceError(
            expected("nccl communicator", "CuPy with NCCL", str(error), "pip install 'dtrain[cuda12]' or [cuda13]")
        ) from error
    if not getattr(nccl, "available", True):
        raise DeviceError(
            expected("nccl communicator", "an NCCL library", "none", "pip install nvidia-nccl-cu12 (or -cu13)")
        )
    return cupy, nccl
