"""The one list of kernels, and how a kernel is chosen.

A kernel is a function `kernel(*inputs, out=..., **attrs)`: arrays in, results written into `out` (one array, or a tuple
of arrays for an op with several outputs), nothing allocated for the caller, no threads, never a Tensor. NumPy ufuncs
have exactly this form. For each op the first listed kernel that fits device, dtypes and attributes wins; the NumPy
reference comes last and is the oracle of all others.

`DTRAIN_MAX_ISA=reference|scalar|avx2|avx512` caps the choice, for debugging and for tests of the slower paths.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dtrain.base.dtype import DType
from dtrain.base.errors import DeviceError, DtypeError, expected
from dtrain.base.tensor_type import TensorType

Array = Any  # a NumPy or a CuPy array
KernelFunction = Callable[..., Any]  # writes into `out`; only kernels of dynamic ops return their results
Attrs = Mapping[str, Any]

ISA_ORDER = ("reference", "scalar", "avx2", "avx512", "vnni", "neon", "dotprod", "cuda")
CPU_LEVELS = ("reference", "scalar", "avx2", "avx512", "vnni")


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelInfo:
    """One kernel of one op.

    `dtypes` are the dtypes its first floating (or first) input may have, None for any. `accepts` is the shared
    predicate on (input types, attributes): whoever passes it can be run. A kernel that `needs_contiguous` gets
    C-contiguous inputs and outputs.
    """

    op: str
    name: str
    isa: str
    function: KernelFunction
    dtypes: tuple[DType, ...] | None = None
    accepts: Callable[[Sequence[TensorType], Attrs], bool] | None = None
    needs_contiguous: bool = False

    @property
    def is_reference(self) -> bool:
        return self.isa == "reference"

    @property
    def device_kind(self) -> str:
        """`cpu` or `cuda`; a reference kernel runs on either, through the array module of its inputs."""
        return "cuda" if self.isa == "cuda" else "cpu"

    def fits(self, types: Sequence[TensorType], attrs: Attrs) -> bool:
        if self.dtypes is not None and types and types[0].dtype not in self.dtypes:
            return False
        return self.accepts is None or self.accepts(types, attrs)


_KERNELS: dict[str, list[KernelInfo]] = {}
_is_loaded = False

# Importing one of these registers kernels; those of the GPU come when one is first asked for.
KERNEL_MODULES = ("dtrain.kernels.reference", "dtrain.kernels.cpu_kernels")
CUDA_KERNEL_MODULES = ("dtrain.kernels.cuda_kernels",)


def load() -> None:
    """Register every kernel this machine can run; the first look-up does it, a second call does nothing."""
    global _is_loaded
    if not _is_loaded:
        # Ranks may be threads: none may look before the list is complete. The import lock makes late ones wait.
        for module in KERNEL_MODULES:
            importlib.import_module(module)
        _is_loaded = True


def load_cuda() -> None:
    """List the CUDA kernels too. Needs neither CuPy nor a GPU until one of them is called."""
    load()
    for module in CUDA_KERNEL_MODULES:
        importlib.import_module(module)


def register_kernel(info: KernelInfo) -> KernelInfo:
    """Add a kernel. Faster ISAs are tried first; within one ISA, the earlier registration. Names are unique."""
    listed = _KERNELS.setdefault(info.op, [])
    if any(other.name == info.name for other in listed):
        raise ValueError(expected("register_kernel", "a new kernel name", info.name, "each kernel is listed once"))
    listed.append(info)
    listed.sort(key=lambda kernel: -ISA_ORDER.index(kernel.isa))
    return info


def reference(op: str, **options: Any) -> Callable[[KernelFunction], KernelFunction]:
    """Decorate the NumPy oracle of `op`, written for the array module (NumPy or CuPy) of its inputs."""

    def decorate(function: KernelFunction) -> KernelFunction:
        register_kernel(KernelInfo(op=op, name=f"{op}_reference", isa="reference", function=function, **options))
        return function

    return decorate


def all_kernels() -> Iterator[KernelInfo]:
    """Every kernel of every op, best first within an op."""
    load()
    for listed in _KERNELS.values():
        yield from listed


def kernels_of(op: str, *, device_kind: str = "cpu") -> tuple[KernelInfo, ...]:
    """The kernels of `op` that run on `cpu` or `cuda`, best first, the reference last. Empty for an unknown op."""
    (load_cuda if device_kind == "cuda" else load)()
    return tuple(info for info in _KERNELS.get(op, ()) if info.is_reference or info.device_kind == device_kind)


def reference_of(op: str) -> KernelInfo:
    """The oracle of `op`."""
    for info in kernels_of(op):
        if info.is_reference:
            return info
    raise KeyError(f"op {op} has no reference kernel")


def find_kernel(op: str, types: Sequence[TensorType], attrs: Attrs, *, device_kind: str | None = None) -> KernelInfo:
    """The first kernel of `op` that takes these inputs and runs on `device_kind`, by default where input 0 is."""
    if not _is_loaded:
        load()
    if device_kind is None:
        device_kind = "cuda" if types and types[0].device.is_cuda else "cpu"
    if device_kind == "cuda":
        load_cuda()
    level = _max_level()
    for info in _KERNELS.get(op, ()):
        runs_here = info.is_reference or (info.device_kind == device_kind and _level_of(info.isa) <= level)
        if runs_here and info.fits(types, attrs):
            return info
    known = ", ".join(info.name for info in _KERNELS.get(op, ())) or "none"
    given = ", ".join(map(str, types))
    if op in _KERNELS:
        raise DtypeError(expected(op, f"inputs that one of its kernels takes ({known})", given, "cast the inputs"))
    raise DeviceError(expected("find_kernel", f"a kernel for {op} on {device_kind}", known))


def _level_of(isa: str) -> int:
    # The caps name instruction sets of CPUs: of a GPU's kernels only "reference" says anything.
    return 1 if isa == "cuda" else ISA_ORDER.index(isa)


def _max_level() -> int:
    name = os.environ.get("DTRAIN_MAX_ISA")
    if not name:
        return len(ISA_ORDER)
    if name not in CPU_LEVELS:
        raise ValueError(expected("DTRAIN_MAX_ISA", "one of " + ", ".join(CPU_LEVELS), name))
    return ISA_ORDER.index(name)


def array_module(array: Array) -> Any:
    """NumPy, or CuPy for an array on a GPU."""
    if type(array).__module__.partition(".")[0] == "cupy":
        import cupy

        return cupy
    import numpy

    return numpy
