"""Facts about GPUs: quiet without a driver, clear about what is missing, locators resolved."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from dtrain.base import cuda
from dtrain.base.device import CPU, as_device
from dtrain.base.errors import DeviceError


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    """Pretend a driver that shows `count` GPUs, or none for the `reason`, with or without CuPy."""

    def pretend(count: int, reason: str = "", has_cupy: bool = True) -> None:
        monkeypatch.setattr(cuda, "probe_driver", lambda: (count, reason))
        monkeypatch.setattr(cuda, "_has_cupy", lambda: has_cupy)
        monkeypatch.setattr(cuda, "current_index", lambda: 0)

    return pretend


def test_no_driver_is_no_error_until_a_gpu_is_asked_for(machine) -> None:
    machine(0, "no CUDA driver: libcuda.so.1 was not found")
    assert not cuda.is_cuda_available()
    assert cuda.device_count() == 0
    with pytest.raises(DeviceError, match=r"device cuda:0: expected a GPU .*no CUDA driver.*; use device='cpu'"):
        cuda.check_cuda_device(0)


def test_missing_cupy_names_the_extra(machine) -> None:
    machine(2, has_cupy=False)
    assert not cuda.is_cuda_available()
    with pytest.raises(DeviceError, match=r"no CuPy.*pip install 'dtrain\[cuda13\]'"):
        cuda.placement("cuda:0")


@pytest.mark.parametrize("text", ["cuda:2", "gpu2", "gpu63:1"])
def test_a_number_too_high_is_out_of_valid_range(text: str, machine) -> None:
    machine(2)
    index = as_device(text).index
    with pytest.raises(DeviceError, match=f"request gpu{index} out of valid range: expected a GPU number from 0 to 1"):
        cuda.placement(text)


@pytest.mark.parametrize(
    ("text", "with_gpu", "without"),
    [
        ("cpu", "cpu", "cpu"),
        ("cpu2:23", "cpu", "cpu"),
        ("cpu:default", "cpu", "cpu"),
        ("multithread4:0", "cpu", "cpu"),
        ("xpux", "cuda:0", "cpu"),
        ("xpu1:3", "cuda:1", "cpu"),
        ("gpux", "cuda:0", None),
        ("gpu1:2", "cuda:1", None),
    ],
)
def test_locators_resolve_to_where_arrays_lie(text: str, with_gpu: str, without: str | None, machine) -> None:
    machine(2)
    assert cuda.placement(text) is as_device(with_gpu)
    machine(0, "no CUDA driver: none")
    if without is None:
        with pytest.raises(DeviceError):
            cuda.placement(text)
    else:
        assert cuda.placement(text) is CPU


@pytest.mark.parametrize(
    ("init", "count", "reason"), [(100, 0, "cuInit with error 100"), (0, 0, "CUDA_VISIBLE_DEVICES"), (0, 3, "")]
)
def test_the_driver_is_asked(init: int, count: int, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        def cuInit(self, flags: int) -> int:
            return init

        def cuDeviceGetCount(self, pointer: object) -> int:
            ctypes.cast(pointer, ctypes.POINTER(ctypes.c_int))[0] = count
            return 0

    monkeypatch.setattr(cuda, "_load_driver", Driver)
    found, why = cuda.probe_driver.__wrapped__()
    assert found == count
    assert reason in why and bool(why) == (count == 0)


def test_importing_and_computing_on_the_cpu_never_touches_a_gpu() -> None:
    """Neither CuPy nor the driver: starting the driver before a fork would break the children."""
    code = (
        "import sys, dtrain as dt\n"
        "from dtrain.base import cuda\n"
        "(dt.ones((2, 2)) @ dt.ones((2, 2))).sum().item()\n"
        "assert 'cupy' not in sys.modules and 'dtrain.kernels.cuda_kernels' not in sys.modules\n"
        "assert cuda.probe_driver.cache_info().misses == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""
