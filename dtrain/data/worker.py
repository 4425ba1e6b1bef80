"""Worker processes of a loader: each fetches every n-th batch ahead of time.

Batches travel through anonymous shared memory made before the fork, one slot for each batch a worker may be ahead;
only sizes and structure go through the pipe. What does not fit its slot goes through the pipe whole. A worker ends
when its pipe closes, and when its parent is gone.
"""

from __future__ import annotations

import mmap
import multiprocessing
import os
import pickle
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

from dtrain.base.alignment import aligned
from dtrain.base.errors import expected
from dtrain.data.worker_error import pack_error, reraise

Fetch = Callable[[int], Any]  # batch number -> batch of arrays

_PARENT_CHECK_SECONDS = 1.0
_JOIN_SECONDS = 5.0


class Worker:
    """The parent's end of one worker process."""

    def __init__(self, number: int, fetch: Fetch, *, num_slots: int, slot_nbytes: int) -> None:
        # fork, since datasets are often defined in scripts that must not run a second time.
        multiprocess = multiprocessing.get_context("fork")
        self.number = number
        self._num_slots, self._slot_nbytes = num_slots, slot_nbytes
        self._memory = mmap.mmap(-1, max(num_slots * slot_nbytes, mmap.PAGESIZE))
        self._connection, theirs = multiprocess.Pipe()
        self._process = multiprocess.Process(
            target=_work,
            args=(fetch, theirs, self._connection, self._memory, num_slots, slot_nbytes, os.getpid()),
            daemon=True,
            name=f"dtrain-data-{number}",
        )
        with warnings.catch_warnings():
            # Python warns of fork beside threads; the child touches none of their locks.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._process.start()
        theirs.close()
        self._num_received = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def request(self, position: int) -> None:
        """Ask for batch number `position`; at most `num_slots` requests may be open."""
        try:
            self._connection.send(position)
        except OSError:
            raise self._death() from None

    def receive(self) -> Any:
        """The batch of the oldest open request, copied out of shared memory."""
        ready = wait([self._connection, self._process.sentinel])
        if self._connection not in ready and not self._connection.poll():
            raise self._death()
        try:
            failure, header, sizes, buffers = self._connection.recv()
        except (EOFError, OSError):  # which one depends on what the socket held when the worker died
            raise self._death() from None
        if failure is not None:
            reraise(failure, f"data loader worker {self.number}")
        slot = self._num_received % self._num_slots
        self._num_received += 1
        if buffers is None:
            buffers = _read(self._memory, slot * self._slot_nbytes, sizes)
        return pickle.loads(header, buffers=buffers)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._connection.close()
        if self._process.is_alive():
            self._process.terminate()
        self._process.join(_JOIN_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()

    def _death(self) -> RuntimeError:
        self._process.join(_JOIN_SECONDS)
        code = self._process.exitcode
        if code is not None and code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        else:
            how = f"exit code {code}"
        advice = "out of memory? run with num_workers=0 to see where"
        return RuntimeError(
            expected("data loader", f"worker {self.number} (pid {self._process.pid}) to be alive", how, advice)
        )


def _work(
    fetch: Fetch,
    connection: Connection,
    parents_end: Connection,
    memory: mmap.mmap,
    num_slots: int,
    slot_nbytes: int,
    parent: int,
) -> None:
    parents_end.close()
    # The parent decides when to stop; it sees Ctrl-C itself. Its handlers are not the worker's.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        for number, position in enumerate(_requests(connection, parent)):
            connection.send(_reply(fetch, position, memory, number % num_slots * slot_nbytes, slot_nbytes))
    except OSError:
        pass  # the parent no longer listens


def _requests(connection: Connection, parent: int) -> Iterator[int]:
    while True:
        # Brothers forked later hold copies of the pipe, so its closing alone does not tell of the parent's death.
        while not connection.poll(_PARENT_CHECK_SECONDS):
            if os.getppid() != parent:
                return
        try:
            yield connection.recv()
        except (EOFError, OSError):
            return


def _reply(fetch: Fetch, position: int, memory: mmap.mmap, start: int, nbytes: int) -> Any:
    """(error packed, pickle without the arrays, sizes of the arrays, the arrays themselves if they do not fit)."""
    try:
        found: list[pickle.PickleBuffer] = []
        header = pickle.dumps(fetch(position), protocol=5, buffer_callback=found.append)
        buffers = [buffer.raw() for buffer in found]
    except Exception as error:
        return pack_error(error), b"", [], None
    sizes = [buffer.nbytes for buffer in buffers]
    if sum(map(aligned, sizes)) > nbytes:
        return None, header, sizes, [bytearray(buffer) for buffer in buffers]
    for buffer, size in zip(buffers, sizes):
        memory[start : start + size] = buffer
        start += aligned(size)
    return None, header, sizes, None


def _read(memory: mmap.mmap, start: int, sizes: Sequence[int]) -> list[bytearray]:
    """Copies of the arrays, so that the slot is free again and the batch may be kept."""
    view = memoryview(memory)
    found = []
    for size in sizes:
        found.append(bytearray(view[start : start + size]))
        start += aligned(size)
    view.release()
    return found


def batch_nbytes(batch: Any) -> int:
    """Bytes of shared memory that a batch of arrays takes."""
    found: list[pickle.PickleBuffer] = []
    pickle.dumps(batch, protocol=5, buffer_callback=found.append)
    return sum(aligned(buffer.raw().nbytes) for buffer in found)
