"""Worker processes: what they send, how they fail, when they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import dtrain as dt
from dtrain.data.dataset import Dataset
from dtrain.data.loader import DataLoader
from dtrain.data.worker import Worker, batch_nbytes

pytestmark = pytest.mark.alone


def worker(fetch, *, num_slots: int = 2, slot_nbytes: int = 4096) -> Worker:
    return Worker(0, fetch, num_slots=num_slots, slot_nbytes=slot_nbytes)


@pytest.fixture
def started():
    workers = []

    def start(fetch, **options):
        workers.append(worker(fetch, **options))
        return workers[-1]

    yield start
    for each in workers:
        each.close()


@pytest.mark.parametrize("slot_nbytes", [0, 64, 4096], ids=["pipe", "mixed", "shared"])
def test_batches_arrive_whole_and_may_be_kept(started, slot_nbytes):
    def fetch(position):
        return np.full((position, 3), position, np.float64), {"text": "x", "empty": np.zeros((0, 2), np.int32)}

    process = started(fetch, slot_nbytes=slot_nbytes)
    received = []
    for position in range(6):
        process.request(position)
        received.append(process.receive())
    for position, (array, rest) in enumerate(received):
        np.testing.assert_array_equal(array, np.full((position, 3), position))
        assert rest["text"] == "x" and rest["empty"].shape == (0, 2)
        array += 1  # its own memory, writable


def test_open_requests_use_slots_of_their_own(started):
    process = started(lambda position: np.full(100, position), num_slots=3, slot_nbytes=800)
    for position in range(3):
        process.request(position)
    assert [process.receive()[0] for _ in range(3)] == [0, 1, 2]


class TwoArguments(Exception):
    """Its own __init__ does not take what it keeps in `args`, so that pickle alone cannot bring it back."""

    def __init__(self, place, reason):
        super().__init__(f"{place}: {reason}")
        self.place = place


def unpicklable():
    error = ValueError("holds a lock")
    error.lock = threading.Lock()
    return error


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (ValueError("bad sample 7"), ValueError, "^bad sample 7$"),
        (FileNotFoundError(2, "No such file", "a.png"), FileNotFoundError, "a.png"),
        (UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), UnicodeDecodeError, "can't decode"),
        (TwoArguments("here", "broken"), TwoArguments, "^here: broken$"),
        (dt.errors.ShapeError("wrong"), dt.errors.ShapeError, "^wrong$"),
        (unpicklable(), RuntimeError, r"(?s)^data loader worker 0 raised\nTraceback.*ValueError: holds a lock"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_keeps_its_type_and_brings_its_traceback(started, error, kind, message):
    def fetch(position):
        raise error

    process = started(fetch)
    process.request(7)
    with pytest.raises(kind, match=message) as raised:
        process.receive()
    if kind is not RuntimeError:
        assert "data loader worker 0 raised\nTraceback" in str(raised.value.__cause__)
        assert "in fetch" in str(raised.value.__cause__)
    assert getattr(raised.value, "place", "here") == "here"


@pytest.mark.parametrize(
    ("end", "error"),
    [
        *[("send", error) for error in (ConnectionResetError, BrokenPipeError, OSError)],
        *[("recv", error) for error in (ConnectionResetError, BrokenPipeError, OSError, EOFError)],
    ],
)
def test_whatever_the_socket_of_a_dead_worker_raises_the_message_is_one(started, monkeypatch, end, error):
    process = started(lambda position: os._exit(3))

    def fail(*_):
        raise error("lost")

    process.request(0)
    process._process.join()
    monkeypatch.setattr(process._connection, end, fail)
    with pytest.raises(RuntimeError, match=r"worker 0 \(pid \d+\) to be alive, got exit code 3"):
        process.request(1) if end == "send" else process.receive()


def test_a_worker_killed_with_requests_unread_is_reported(started):
    for _ in range(12):  # what the socket then says differs from time to time
        process = started(lambda position: os.kill(os.getpid(), signal.SIGKILL), num_slots=8)
        with pytest.raises(RuntimeError, match="to be alive, got killed by SIGKILL"):
            for position in range(8):
                process.request(position)
            process.receive()


@pytest.mark.parametrize(
    ("end", "message"),
    [(lambda _: os._exit(3), "exit code 3"), (lambda _: os.kill(os.getpid(), signal.SIGKILL), "killed by SIGKILL")],
)
def test_a_worker_that_dies_is_reported(started, end, message):
    process = started(end)
    process.request(0)
    with pytest.raises(RuntimeError, match=rf"worker 0 \(pid \d+\) to be alive, got {message}; .*num_workers=0"):
        process.receive()
    with pytest.raises(RuntimeError, match=message):
        for position in range(100):
            process.request(position)


def test_close_ends_a_busy_worker():
    process = worker(lambda _: time.sleep(60))
    process.request(0)
    pid = process.pid
    started_at = time.monotonic()
    process.close()
    assert time.monotonic() - started_at < 5
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


class Failing(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        if index == 5:
            raise KeyError("sample five")
        return index


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_loader_passes_on_what_a_worker_raised(num_workers):
    with pytest.raises(KeyError, match="'sample five'"):
        list(DataLoader(Failing(), 2, num_workers=num_workers))


class Stopping(Failing):
    def __getitem__(self, index):
        if index == 5:
            raise StopIteration
        return index


@pytest.mark.parametrize("num_workers", [0, 2])
def test_stop_iteration_out_of_a_dataset_does_not_end_the_epoch(num_workers):
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(DataLoader(Stopping(), 2, num_workers=num_workers))


ORPHANS = """
import time
import numpy as np
from dtrain.data import ArrayDataset, DataLoader
loader = iter(DataLoader(ArrayDataset(np.arange(100)), 1, num_workers=2))
next(loader)
import multiprocessing
print(*[child.pid for child in multiprocessing.active_children()], flush=True)
time.sleep(60)
"""


def test_workers_end_when_their_parent_is_killed():
    parent = subprocess.Popen([sys.executable, "-c", ORPHANS], stdout=subprocess.PIPE, text=True)
    with parent:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.kill()
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "workers outlived their parent"
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_batch_nbytes_counts_arrays_in_aligned_pieces():
    assert batch_nbytes((np.zeros(3, np.float32), np.zeros(17, np.float64), "text")) == 64 + 192
