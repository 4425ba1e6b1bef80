"""Device: the locator grammar of the reference system with its good and bad table, round trips, interning."""

from __future__ import annotations

import copy
import pickle

import pytest

from dtrain.base.device import (
    CPU,
    CPU_DEFAULT_INDEX,
    DEFAULT_INDEX,
    MAX_NUM_DEVICES,
    MULTITHREAD_DEFAULT_INDEX,
    Device,
    as_device,
)
from dtrain.base.errors import DeviceError

# locator, kind, index, stream, threads
GOOD = [
    ("cpu", "cpu", 0, 0, 1),
    ("cuda", "cuda", DEFAULT_INDEX, 0, 1),
    ("cuda:3", "cuda", 3, 0, 1),
    ("xpu", "xpu", DEFAULT_INDEX, 0, 1),
    ("xpux", "xpu", DEFAULT_INDEX, 0, 1),
    ("xpux:23", "xpu", DEFAULT_INDEX, 23, 1),
    ("xpu23", "xpu", 23, 0, 1),
    ("xpu2:23", "xpu", 2, 23, 1),
    ("xpu21:23", "xpu", 21, 23, 1),
    ("xpu23:1", "xpu", 23, 1, 1),
    ("cpux", "cpu", DEFAULT_INDEX, 0, 1),
    ("cpux:23", "cpu", DEFAULT_INDEX, 23, 1),
    ("cpu2:23", "cpu", 2, 23, 1),
    ("cpu:default", "cpu", CPU_DEFAULT_INDEX, 0, 1),
    ("gpux", "cuda", DEFAULT_INDEX, 0, 1),
    ("gpux:2", "cuda", DEFAULT_INDEX, 2, 1),
    ("gpu0", "cuda", 0, 0, 1),
    ("gpu1:2", "cuda", 1, 2, 1),
    ("gpu63", "cuda", 63, 0, 1),
    ("multithread2:0", "multithread", 0, 0, 2),
    ("multithread1:3", "multithread", 3, 0, 1),
    ("multithread:default:2", "multithread", MULTITHREAD_DEFAULT_INDEX, 0, 2),
]
# `cpu` alone is the one locator of the reference system's bad table that is good here.
BAD = [
    "apu", "fpgbx", "cab0", "cpu-1", "cpu0:", "cpu0:x", "cpu2:23x", "heaxgon0", "rcom0", "cmabricon0", "multithread",
    "multithread1:", "multithread1:default", "multithread1:default:0", "multithread0:0", "multithread:default:0",
    "multithread-1:0", "gpu", "xpu:1", "cuda:", "cuda:x", "cuda0", "CPU", "", " cpu", "cpu\n", "gpu٣",
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "index", "stream", "threads"), GOOD)
def test_good_locators(text: str, kind: str, index: int, stream: int, threads: int) -> None:
    device = as_device(text)
    assert (device.kind, device.index, device.stream, device.num_threads) == (kind, index, stream, threads)
    assert device.is_cuda == (kind == "cuda")
    assert device.is_cpu == (kind in ("cpu", "multithread"))


@pytest.mark.parametrize("text", [row[0] for row in GOOD])
def test_what_is_printed_reads_back_as_the_same_object(text: str) -> None:
    device = as_device(text)
    assert as_device(str(device)) is device
    assert as_device(device) is device
    assert repr(device) == f"Device({str(device)!r})"


@pytest.mark.parametrize("text", BAD)
def test_bad_locators_show_the_grammar(text: str) -> None:
    with pytest.raises(DeviceError, match=r"device: expected cpu, cuda:N, gpuN\[:S\].*got") as caught:
        as_device(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["gpu64", "cuda:64", "xpu64", "cpu64:0", "gpu1000:1", "multithread2:64"])
def test_device_numbers_end_at_63(text: str) -> None:
    with pytest.raises(DeviceError, match=f"a device number below {MAX_NUM_DEVICES}, got '{text}'"):
        as_device(text)


@pytest.mark.parametrize("value", [None, 0, 1.5, ["cpu"], b"cpu"])
def test_what_is_no_text(value: object) -> None:
    with pytest.raises(DeviceError, match="a Device or a locator string"):
        as_device(value)  # type: ignore[arg-type]


def test_equal_places_are_one_object() -> None:
    assert as_device("cpu0") is CPU
    assert as_device("cpu0:0") is CPU
    assert as_device("gpu3") is as_device("cuda:3") is as_device("gpu3:0")
    assert as_device(Device("cuda", 3)) is as_device("cuda:3")
    assert len({as_device(text) for text in ("gpu0:0", "gpu0:1", "gpu1:0", "gpux")}) == 4


@pytest.mark.parametrize("text", [row[0] for row in GOOD])
def test_copies_stay_interned(text: str) -> None:
    device = as_device(text)
    assert pickle.loads(pickle.dumps(device)) is device
    assert copy.deepcopy(device) is device
