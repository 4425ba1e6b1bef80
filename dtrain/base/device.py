"""Where an array lives: `cpu`, `cuda:1`, or the reference system's locators such as `gpu0:2` and `xpux`.

Grammar (MegEngine's CompNode, release note B10):

    cpu | cuda | cuda:N                              the usual names; cuda is the thread's current GPU
    xpu | xpu(x|N)[:S] | cpu(x|N)[:S] | gpu(x|N)[:S] N a device number, x the default one, S a stream
    cpu:default                                      the calling thread
    multithreadT:N | multithread:default:T           T threads

Devices are interned, so equal locators are one object.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from dtrain.base.errors import DeviceError, expected

DeviceKind = Literal["cpu", "cuda", "xpu", "multithread"]

MAX_NUM_DEVICES = 64
DEFAULT_INDEX = -1
CPU_DEFAULT_INDEX = -1024
MULTITHREAD_DEFAULT_INDEX = -1025


@dataclass(frozen=True, slots=True)
class Device:
    """One place to compute. `index` is −1 for "the default one"; `num_threads` counts only for multithread."""

    kind: DeviceKind
    index: int = 0
    stream: int = 0
    num_threads: int = 1

    @property
    def is_cuda(self) -> bool:
        return self.kind == "cuda"

    @property
    def is_cpu(self) -> bool:
        return self.kind in ("cpu", "multithread")

    def __str__(self) -> str:
        if self.kind == "multithread":
            if self.index == MULTITHREAD_DEFAULT_INDEX:
                return f"multithread:default:{self.num_threads}"
            return f"multithread{self.num_threads}:{self.index}"
        if self.index == CPU_DEFAULT_INDEX:
            return "cpu:default"
        if self.stream == 0 and self.index >= 0 and self.kind == "cuda":
            return f"cuda:{self.index}"
        if self == CPU:
            return "cpu"
        name = "gpu" if self.kind == "cuda" else self.kind
        number = "x" if self.index == DEFAULT_INDEX else str(self.index)
        return f"{name}{number}" + (f":{self.stream}" if self.stream else "")

    @property
    def type(self) -> str:
        """cpu or cuda: the kind, under PyTorch's name."""
        return "cuda" if self.is_cuda else "cpu"

    def __repr__(self) -> str:
        return f"Device({str(self)!r})"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        # Types compare devices by identity, so a copy must be the interned one.
        return as_device, (str(self),)


_NUMBERED = re.compile(r"(xpu|cpu|gpu)(x|[0-9]+)(?::([0-9]+))?")
_MULTITHREAD = re.compile(r"multithread([0-9]+):([0-9]+)")
_MULTITHREAD_DEFAULT = re.compile(r"multithread:default:([0-9]+)")
_CUDA = re.compile(r"cuda(?::([0-9]+))?")

_INTERNED: dict[Device, Device] = {}
_BY_TEXT: dict[str, Device] = {}

DeviceLike = Device | str


def as_device(value: DeviceLike) -> Device:
    """Parse a locator. Raises `DeviceError` for one that the grammar does not know or a device number over 63."""
    if isinstance(value, Device):
        return _INTERNED.setdefault(value, value)
    if not isinstance(value, str):
        raise DeviceError(expected("device", "a Device or a locator string", repr(value)))
    if value not in _BY_TEXT:
        device = _parse(value)
        _BY_TEXT[value] = _INTERNED.setdefault(device, device)
    return _BY_TEXT[value]


def _parse(text: str) -> Device:
    if text == "cpu":
        return Device("cpu")
    if text == "xpu":
        return Device("xpu", DEFAULT_INDEX)
    if text == "cpu:default":
        return Device("cpu", CPU_DEFAULT_INDEX)
    if match := _CUDA.fullmatch(text):
        return Device("cuda", DEFAULT_INDEX if match[1] is None else _checked_index(text, int(match[1])))
    if match := _NUMBERED.fullmatch(text):
        kind: DeviceKind = "cuda" if match[1] == "gpu" else match[1]  # type: ignore[assignment]
        index = DEFAULT_INDEX if match[2] == "x" else _checked_index(text, int(match[2]))
        return Device(kind, index, int(match[3] or 0))
    if (match := _MULTITHREAD.fullmatch(text)) and int(match[1]) >= 1:
        return Device("multithread", _checked_index(text, int(match[2])), num_threads=int(match[1]))
    if (match := _MULTITHREAD_DEFAULT.fullmatch(text)) and int(match[1]) >= 1:
        return Device("multithread", MULTITHREAD_DEFAULT_INDEX, num_threads=int(match[1]))
    raise DeviceError(
        expected("device", "cpu, cuda:N, gpuN[:S], cpuN[:S], xpuN[:S], cpu:default or multithreadT:N", repr(text))
    )


def _checked_index(text: str, index: int) -> int:
    if index >= MAX_NUM_DEVICES:
        raise DeviceError(expected("device", f"a device number below {MAX_NUM_DEVICES}", repr(text)))
    return index


CPU = as_device("cpu")
