"""How a rank's process tells its supervisor what it dies of, whatever the script has done to its descriptors.

It stays until that has been heard: what started the ranks may kill all of them, supervisors too, as soon as one leaves.

A script may close every descriptor it did not open (daemons do), and the next file it opens gets the number. So the
report is written to the inherited descriptor only after a look whether that is still the same pipe, and else to the
supervisor's end, which the process opens by its path in /proc. That may not get the number of a closed standard stream,
into which another thread perhaps still prints.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import select
from collections.abc import Iterator

from dtrain.control.encoding import MessageError
from dtrain.control.messages import Summary
from dtrain.control.verdict import Failure
from dtrain.control.wire import decode, encode

Report = Failure | Summary  # what a rank says of its own end

HIGH_DESCRIPTOR = 512  # out of the way of loops that close "all" descriptors, and of the next open()
HEARING = 2.0  # seconds in which a report is heard, or nobody is there to hear it


class ReportPipe:
    """Made before the fork: the supervisor reads `descriptor` and calls `note_heard`; all else is for the rank."""

    def __init__(self) -> None:
        self.descriptor, write_end = os.pipe()
        read_end, self._heard = os.pipe()
        self._reports = _OwnEnd(write_end, os.O_WRONLY)
        self._answers = _OwnEnd(read_end, os.O_RDONLY)
        self._is_awaiting = False
        self._pid = 0

    def note_heard(self) -> None:
        """In the supervisor: the launcher knows what the rank dies of, or there is no launcher any more."""
        with contextlib.suppress(OSError):
            os.write(self._heard, b"x")

    def become_rank(self) -> None:
        """After the fork, in the child: keep only the way back."""
        os.close(self.descriptor)
        os.close(self._heard)
        for end in (self._reports, self._answers):
            end.descriptor = out_of_the_way(end.descriptor)
        self._pid = os.getpid()

    @property
    def is_of_this_process(self) -> bool:
        """False in a process that the script forked: what ends that one is not the end of the rank."""
        return os.getpid() == self._pid

    def send(self, report: Report) -> bool:
        """Hand a report over; False where there is no way left. Never raises."""
        line = b"\n" + encode(report)  # begun anew, whatever somebody has left there
        try:
            with self._reports.opened() as descriptor:
                _write_all(descriptor, line)
        except OSError:
            return False
        self._is_awaiting = isinstance(report, Failure)
        return True

    def wait_until_heard(self) -> None:
        """Return when the launcher has the `Failure` that was sent, if one was, or after `HEARING` seconds."""
        if self._is_awaiting:
            with contextlib.suppress(OSError, ValueError), self._answers.opened() as descriptor:
                waiting = select.poll()  # select.select takes no numbers from 1024 on
                waiting.register(descriptor, select.POLLIN)
                waiting.poll(HEARING * 1e3)


class _OwnEnd:
    """An end of a pipe that the supervisor holds too, by whose number there the rank finds it again."""

    def __init__(self, descriptor: int, mode: int) -> None:
        self.descriptor = descriptor
        self._mode = mode
        self._path = f"/proc/{os.getpid()}/fd/{descriptor}"
        self._identity = _identity(descriptor)

    @contextlib.contextmanager
    def opened(self) -> Iterator[int]:
        """Its number, or for a while that of another one of the same pipe. Raises `OSError`."""
        if _identity(self.descriptor) == self._identity:
            yield self.descriptor
            return
        hold_standard_descriptors()
        descriptor = os.open(self._path, self._mode | os.O_CLOEXEC)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def parse_report(line: bytes) -> Report | None:
    """A report of `send`, or None for anything else that somebody wrote there."""
    try:
        message = decode(line).message
    except MessageError:
        return None
    return message if isinstance(message, Report) else None


def hold_standard_descriptors() -> None:
    """Where 0, 1 or 2 is closed: what is opened next must not get one of these numbers."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


def _write_all(descriptor: int, line: bytes) -> None:
    while line:
        line = line[os.write(descriptor, line) :]


def out_of_the_way(descriptor: int) -> int:
    """Move a descriptor to a high number."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, min(HIGH_DESCRIPTOR, limit // 2))
        os.close(descriptor)
        return moved
    return descriptor


def _identity(descriptor: int) -> tuple[int, int] | None:
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino
