"""Whether this machine has GPUs, found out from the driver alone and quietly: no CuPy, no CUDA toolkit.

The driver library is looked for as the loader finds it (LD_LIBRARY_PATH, ld.so.cache) and then in two usual places of
containers, never behind a test for one absolute path. Asking starts the driver, so nothing asks before a GPU is named.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

from dtrain.base.device import CPU, DEFAULT_INDEX, Device, DeviceLike, as_device
from dtrain.base.errors import DeviceError, expected

if TYPE_CHECKING:
    import ctypes

# The local rank whose GPU becomes current at first use; a thread rank has one of its own.
_preferred: ContextVar[int | None] = ContextVar("preferred_gpu", default=None)

DRIVER_LIBRARIES = ("libcuda.so.1", "/usr/lib/x86_64-linux-gnu/libcuda.so", "/usr/local/nvidia/lib64/libcuda.so")


@cache
def probe_driver() -> tuple[int, str]:
    """(number of GPUs, why there are none or ''), once a process."""
    library = _load_driver()
    if library is None:
        return 0, f"no CUDA driver: {DRIVER_LIBRARIES[0]} was not found"
    if status := int(library.cuInit(0)):
        return 0, f"no CUDA device: the driver answers cuInit with error {status}"
    import ctypes  # costs milliseconds that a run on the CPU need not pay

    count = ctypes.c_int()
    if status := int(library.cuDeviceGetCount(ctypes.byref(count))):
        return 0, f"no CUDA device: the driver answers cuDeviceGetCount with error {status}"
    return count.value, "" if count.value else "no CUDA device: the driver shows none (see CUDA_VISIBLE_DEVICES)"


def _load_driver() -> ctypes.CDLL | None:
    import ctypes

    for name in DRIVER_LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    return None


def device_count() -> int:
    """How many GPUs the driver offers to this process; 0 without a driver."""
    return probe_driver()[0]


def is_cuda_available() -> bool:
    """Whether tensors can be put on `cuda:0`: there are a driver, a GPU and CuPy."""
    return why_cuda_is_unavailable() == ""


def why_cuda_is_unavailable() -> str:
    """One line for messages and skipped tests; empty where CUDA can be used."""
    count, reason = probe_driver()
    if count == 0:
        return reason
    return "" if _has_cupy() else "no CuPy: the package cupy is not installed"


def _has_cupy() -> bool:
    return "cupy" in sys.modules or find_spec("cupy") is not None


def check_cuda_device(index: int) -> None:
    """Raise DeviceError, saying what is missing, unless GPU `index` can be used."""
    where = f"device cuda:{index}"
    if reason := why_cuda_is_unavailable():
        advice = "pip install 'dtrain[cuda13]' or 'dtrain[cuda12]'" if "CuPy" in reason else "use device='cpu'"
        raise DeviceError(expected(where, "a GPU with a driver, and CuPy", reason, advice))
    count = device_count()
    if not 0 <= index < count:
        wanted = f"a GPU number from 0 to {count - 1}"
        advice = "see nvidia-smi and CUDA_VISIBLE_DEVICES"
        raise DeviceError(expected(f"request gpu{index} out of valid range", wanted, str(index), advice))


def prefer_gpu(local_rank: int) -> None:
    """Make GPU `local_rank` the current one of this thread (modulo their number), when a GPU is first needed.

    Nothing is started here: a data loader may still fork, and a run on the CPU never needs the driver.
    """
    _preferred.set(local_rank)


def current_index() -> int:
    """The number of the thread's current GPU, on which CuPy allocates: what `cuda` without a number means."""
    if why_cuda_is_unavailable():
        return 0  # whoever asked for it hears what is missing from check_cuda_device
    import cupy

    preferred, current = _preferred.get(), int(cupy.cuda.Device().id)
    if preferred is None or current != 0:  # the script has chosen one itself
        return current
    _preferred.set(None)
    cupy.cuda.Device(preferred % device_count()).use()
    return preferred % device_count()


def numbered(value: DeviceLike) -> Device:
    """The device itself; `cuda` and `gpux` with the number of the thread's current GPU."""
    device = as_device(value)
    return as_device(f"cuda:{current_index()}") if device.is_cuda and device.index == DEFAULT_INDEX else device


def synchronize(device: Device) -> None:
    """Wait until everything that was handed to a GPU has ended; nothing to wait for on the CPU."""
    if device.is_cuda:
        import cupy

        cupy.cuda.Device(device.index).synchronize()


def placement(value: DeviceLike) -> Device:
    """Where a tensor that asks for this device lies: `cpu` or an existing `cuda:N`.

    `xpu` is a GPU where there is one, else the CPU; `cuda`, `gpux` and `xpux` are the thread's current GPU. Threads and
    streams say how work is ordered, not where arrays are, so every CPU locator is `cpu`.
    """
    device = as_device(value)
    if device is CPU or device.is_cpu:
        return CPU
    if device.kind == "xpu" and not is_cuda_available():
        return CPU
    index = current_index() if device.index == DEFAULT_INDEX else device.index
    check_cuda_device(index)
    return as_device(f"cuda:{index}")
