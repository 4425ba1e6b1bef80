"""The one list of kernels.

A kernel is a function `kernel(*inputs, out=..., **attrs)`: arrays in, results written into `out` (one array, or a tuple
of arrays for an op with several outputs), nothing allocated for the caller, no threads, never a Tensor. NumPy ufuncs
have exactly this form. The NumPy reference of an op is the oracle of all its other kernels. `choice` picks one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

from dtrain.base.errors import expected
from dtrain.base.layout import Layout
from dtrain.kernels.candidate import Candidate, KernelFunction
from dtrain.kernels.signature import Signature

LoaderKind = Literal["reference", "cpu", "cuda"]

_KERNELS: dict[str, list[Candidate]] = {}
_SIGNATURES: dict[str, Signature] = {}
_is_loaded = False

# What registers the kernels of one kind. They import this file: the package hands them in.
_loaders: dict[LoaderKind, Callable[[], None]] = {}


def set_loader(kind: LoaderKind, loader: Callable[[], None]) -> None:
    """Let `loader` register the kernels of this kind. It is called when one is first asked for, and again."""
    _loaders[kind] = loader


def load() -> None:
    """Register every kernel this machine can run; the first look-up does it, a second call does nothing."""
    global _is_loaded
    if not _is_loaded:
        # Ranks may be threads: none may look before the list is complete. The import lock makes late ones wait.
        _loaders["reference"]()
        _loaders["cpu"]()
        _is_loaded = True


def load_cuda() -> None:
    """List the CUDA kernels too. Needs neither CuPy nor a GPU until one of them is called."""
    load()
    _loaders["cuda"]()


def register_kernel(candidate: Candidate) -> Candidate:
    """Add a kernel behind those of its op; the reference stays last. Names are unique."""
    listed = _KERNELS.setdefault(candidate.op, [])
    if any(other.name == candidate.name for other in listed):
        raise ValueError(expected("register_kernel", "a new kernel name", candidate.name, "each kernel is listed once"))
    listed.append(candidate)
    listed.sort(key=lambda kernel: kernel.is_reference)
    return candidate


def reference(
    op: str, *, inputs: str = "T*", draws: bool = False, layouts: tuple[Layout, ...] = (), quantized: bool = False
) -> Callable[[KernelFunction], KernelFunction]:
    """Decorate the NumPy oracle of `op`, written for the array module (NumPy or CuPy) of its inputs.

    `inputs` and `draws` say which dtypes its kernels take together (`Signature`), `layouts` and `quantized` which
    inputs this one takes besides plain ones (`Candidate`).
    """

    def decorate(function: KernelFunction) -> KernelFunction:
        name = f"{op}_reference"
        register_kernel(
            Candidate(op=op, name=name, isa="reference", function=function, layouts=layouts, quantized=quantized)
        )
        _SIGNATURES[op] = Signature(tuple(inputs.split()), draws)
        return function

    return decorate


def signature_of(op: str) -> Signature:
    """The roles of an op's inputs, as its reference declares them."""
    _loaders["reference"]()  # not `load`: the lists of kernels ask while they are being made
    return _SIGNATURES[op]


def all_kernels() -> Iterator[Candidate]:
    """Every kernel of every op, as listed, the reference last."""
    load()
    for listed in _KERNELS.values():
        yield from listed


def known_names() -> set[str]:
    """The names of all kernels, those of the GPU included."""
    load_cuda()
    return {candidate.name for listed in _KERNELS.values() for candidate in listed}


def kernels_of(op: str, *, device_kind: str = "cpu") -> tuple[Candidate, ...]:
    """The kernels of `op` for `cpu` or `cuda`, as listed, the reference last. Empty for an unknown op."""
    (load_cuda if device_kind == "cuda" else load)()
    return tuple(one for one in _KERNELS.get(op, ()) if one.is_reference or one.device_kind == device_kind)


def reference_of(op: str) -> Candidate:
    """The oracle of `op`."""
    for candidate in kernels_of(op):
        if candidate.is_reference:
            return candidate
    raise KeyError(f"op {op} has no reference kernel")
