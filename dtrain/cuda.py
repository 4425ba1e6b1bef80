"""`dt.cuda`: the questions that scripts ask of GPUs, under PyTorch's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dtrain.base import names as _names
from dtrain.base.cuda import current_index, device_count, prefer_gpu
from dtrain.base.cuda import is_cuda_available as is_available
from dtrain.core.random_like import manual_seed as _manual_seed

__all__ = [
    "current_device", "device_count", "empty_cache", "is_available", "manual_seed", "manual_seed_all", "set_device",
    "synchronize",
]  # fmt: skip


def set_device(index: int) -> None:
    """Make this GPU the current one, which "cuda" means; `dist.init()` has done it with the local rank."""
    prefer_gpu(index)


def current_device() -> int:
    """The number of the current GPU."""
    return current_index()


def synchronize(device: object = None) -> None:
    """Wait until the current GPU has done what it was given; without a GPU there is nothing to wait for."""
    if not is_available():
        return
    import cupy

    cupy.cuda.Device(current_index()).synchronize()


def empty_cache() -> None:
    """Give memory that no array uses back to the driver; without a GPU there is none."""
    if not is_available():
        return
    import cupy

    cupy.get_default_memory_pool().free_all_blocks()


def manual_seed(number: int) -> None:
    """The same as `dt.manual_seed`: one generator draws for all devices."""
    _manual_seed(number)


manual_seed_all = manual_seed
__path__: list[str] = []  # `import dtrain.cuda.amp` asks for it

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return _names.lookup("cuda", name, __all__)
