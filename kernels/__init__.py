"""How to compute one op on one device: arrays in, arrays out, never a Tensor.

`registry` lists every kernel and `choice` picks one; `reference/` holds the NumPy oracle of each op; `cpu/` holds the
compiled families and `cuda/` the CUDA sources. Imports only `dtrain.base`.
"""

from __future__ import annotations

from dtrain.kernels import loaders
from dtrain.kernels.array_module import array_module
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.choice import candidates, choose
from dtrain.kernels.policy import Policy, current_policy, set_policy, using
from dtrain.kernels.problem import Problem
from dtrain.kernels.registry import all_kernels, kernels_of, load, reference_of, register_kernel

assert __name__ == "dtrain.kernels", "import dtrain.kernels, never the bare name `kernels`"

loaders.install()

__all__ = [
    "Candidate",
    "Policy",
    "Problem",
    "all_kernels",
    "array_module",
    "candidates",
    "choose",
    "current_policy",
    "kernels_of",
    "load",
    "reference_of",
    "register_kernel",
    "set_policy",
    "using",
]
