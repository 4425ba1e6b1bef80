"""How to compute one op on one device: arrays in, arrays out, never a Tensor.

`registry` lists every kernel and picks one; `reference/` holds the NumPy oracle of each op; `cpu/` holds the compiled
families and `cuda/` the CUDA sources. Imports only `dtrain.base`.
"""

from __future__ import annotations

from dtrain.kernels.registry import (
    KernelInfo,
    all_kernels,
    array_module,
    find_kernel,
    kernels_of,
    load,
    reference_of,
    register_kernel,
)

assert __name__ == "dtrain.kernels", "import dtrain.kernels, never the bare name `kernels`"

__all__ = [
    "KernelInfo",
    "all_kernels",
    "array_module",
    "find_kernel",
    "kernels_of",
    "load",
    "reference_of",
    "register_kernel",
]
