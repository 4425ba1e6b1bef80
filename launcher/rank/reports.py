"""How a rank's process tells its supervisor what it dies of, whatever the script has done to its descriptors.

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

from dtrain.control.encoding import MessageError
from dtrain.control.messages import Summary
from dtrain.control.verdict import Failure
from dtrain.control.wire import decode, encode

Report = Failure | Summary  # what a rank says of its own end

HIGH_DESCRIPTOR = 512  # out of the way of loops that close "all" descriptors, and of the next open()


class ReportPipe:
    """Made before the fork: `descriptor` is read by the supervisor, `send` is for the rank."""

    def __init__(self) -> None:
        self.descriptor, self._write_end = os.pipe()
        self._path = f"/proc/{os.getpid()}/fd/{self._write_end}"
        self._identity = _identity(self._write_end)
        self._pid = 0

    def become_rank(self) -> None:
        """After the fork, in the child: keep only the way back."""
        os.close(self.descriptor)
        self._write_end = out_of_the_way(self._write_end)
        self._pid = os.getpid()

    @property
    def is_of_this_process(self) -> bool:
        """False in a process that the script forked: what ends that one is not the end of the rank."""
        return os.getpid() == self._pid

    def send(self, report: Report) -> bool:
        """Hand a report over; False where there is no way left. Never raises."""
        line = b"\n" + encode(report)  # begun anew, whatever somebody has left there
        try:
            if _identity(self._write_end) == self._identity:
                _write_all(self._write_end, line)
                return True
            hold_standard_descriptors()
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                _write_all(descriptor, line)
            finally:
                os.close(descriptor)
        except OSError:
            return False
        return True


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
