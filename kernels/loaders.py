"""Which modules register kernels: importing one does it. `kernels/__init__.py` hands these to the registry."""

from __future__ import annotations

from dtrain.kernels.registry import set_loader


def _load_references() -> None:
    import dtrain.kernels.reference  # noqa: F401


def _load_cpu_kernels() -> None:
    import dtrain.kernels.cpu_kernels  # noqa: F401


def _load_cuda_kernels() -> None:
    """Needs neither CuPy nor a GPU."""
    import dtrain.kernels.cuda_kernels  # noqa: F401


def install() -> None:
    """Let the registry find all kernels."""
    set_loader("reference", _load_references)
    set_loader("cpu", _load_cpu_kernels)
    set_loader("cuda", _load_cuda_kernels)
