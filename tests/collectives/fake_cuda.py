"""A CuPy and an NCCL that live in host memory, so that the logic of the nccl communicator is tested without a GPU.

Device arrays are NumPy arrays of a class of their own; streams carry everything out at once; NCCL's calls move bytes
between ranks that are threads. What it cannot show: order on streams, and NCCL itself.
"""

from __future__ import annotations

import ctypes
import itertools
import queue
import threading
from collections import defaultdict
from contextlib import AbstractContextManager
from types import SimpleNamespace
from typing import Any

import numpy as np


class DeviceArray(np.ndarray):
    """An array "on cuda:0"."""

    device = SimpleNamespace(id=0)


class _Scope(AbstractContextManager):
    def __exit__(self, *exception: object) -> None:
        return None


class Device(_Scope):
    def __init__(self, index: int) -> None:
        self.id = index


class Stream(_Scope):
    """Counts what was recorded and waited for; a fake has nothing to wait for."""

    ptr = 0
    waited: list[Any]

    def __init__(self, non_blocking: bool = False) -> None:
        self.waited = []

    def record(self) -> SimpleNamespace:
        return SimpleNamespace(done=True, stream=self)

    def wait_event(self, event: SimpleNamespace) -> None:
        self.waited.append(event)

    def synchronize(self) -> None:
        pass


_current_stream = Stream()


def _on_device(array: Any) -> Any:
    return np.array(array, copy=True).view(DeviceArray)


cupy = SimpleNamespace(
    ndarray=DeviceArray,
    uint8=np.uint8,
    empty=lambda shape, dtype=np.float64: np.empty(shape, dtype).view(DeviceArray),
    zeros=lambda shape, dtype=np.float64: np.zeros(shape, dtype).view(DeviceArray),
    empty_like=np.empty_like,
    asarray=_on_device,
    asnumpy=lambda array: np.array(array, subok=False),
    divide=np.divide,
    where=lambda *given: _on_device(np.where(*given)),
    cuda=SimpleNamespace(Device=Device, Stream=Stream, get_current_stream=lambda: _current_stream),
)

_wires: dict[tuple[Any, int, int], queue.Queue[bytes]] = defaultdict(queue.Queue)
_wires_lock = threading.Lock()  # or two threads could make the same wire twice
_numbers = itertools.count()
_group = threading.local()


class NcclCommunicator:
    """Sends first, then receives, when a group ends; outside of a group at once."""

    def __init__(self, size: int, unique_id: bytes, rank: int) -> None:
        assert type(unique_id) is bytes and len(unique_id) == 128, "CuPy 14 takes the bytes that it gave"
        self.size, self.id, self.rank = size, unique_id, rank
        self.is_destroyed = False
        self.is_aborted = False

    def send(self, pointer: int, count: int, datatype: int, peer: int, stream: int) -> None:
        _do(0, lambda: _wire(self.id, self.rank, peer).put(ctypes.string_at(pointer, count)))

    def recv(self, pointer: int, count: int, datatype: int, peer: int, stream: int) -> None:
        def receive() -> None:
            data = _wire(self.id, peer, self.rank).get(timeout=20)
            assert len(data) == count, "NCCL would hang or corrupt memory"
            ctypes.memmove(pointer, data, count)

        _do(1, receive)

    def allGather(self, source: int, out: int, count: int, datatype: int, stream: int) -> None:
        is_in_place = source == out + self.rank * count
        assert is_in_place or source + count <= out or out + self.size * count <= source, "NCCL wants them apart"
        _group_start()
        for peer in range(self.size):
            self.send(source, count, datatype, peer, stream)
            self.recv(out + peer * count, count, datatype, peer, stream)
        _group_end()

    def broadcast(self, source: int, out: int, count: int, datatype: int, root: int, stream: int) -> None:
        _group_start()
        for peer in range(self.size if self.rank == root else 0):
            self.send(source, count, datatype, peer, stream)
        self.recv(out, count, datatype, root, stream)
        _group_end()

    def destroy(self) -> None:
        self.is_destroyed = True

    def abort(self) -> None:
        self.is_aborted = True


def _wire(unique_id: bytes, source: int, destination: int) -> queue.Queue[bytes]:
    with _wires_lock:
        return _wires[unique_id, source, destination]


def _group_start() -> None:
    assert getattr(_group, "calls", None) is None, "groups are not nested here"
    _group.calls = []


def _group_end() -> None:
    calls, _group.calls = _group.calls, None
    for _, call in sorted(calls, key=lambda pair: pair[0]):
        call()


def _do(phase: int, call: Any) -> None:
    if getattr(_group, "calls", None) is None:
        call()
    else:
        _group.calls.append((phase, call))


nccl = SimpleNamespace(
    available=True,
    NCCL_INT8=0,
    get_unique_id=lambda: next(_numbers).to_bytes(128, "little"),
    NcclCommunicator=NcclCommunicator,
    groupStart=_group_start,
    groupEnd=_group_end,
)
