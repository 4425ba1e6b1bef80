"""A rank's process as its supervisor starts it: forked, with pipes for all it says and hears, waiting for its orders.

The fork happens before the supervisor starts a thread. The child is a session of its own and dies with the supervisor.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO, TextIOWrapper
from typing import Any, NoReturn

from dtrain.control.exit_codes import COULD_NOT_START
from dtrain.launcher.rank.reports import ReportPipe, hold_standard_descriptors, out_of_the_way
from dtrain.launcher.rank.script import STACKS_SIGNAL

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PIPE_SIZE = 1 << 18  # bytes of output that may wait in the kernel for the supervisor

Run = Callable[[int, ReportPipe], int]


@dataclass(frozen=True, slots=True)
class Child:
    """The rank's process and our ends of its pipes."""

    pid: int
    stdin: int
    stdout: int
    stderr: int
    reports: ReportPipe
    start: int
    faults: int

    def give_orders(self, environment: dict[str, str], *, has_input: bool) -> None:
        """Let it run, with variables; with standard input through our pipe, or as it was started."""
        with os.fdopen(self.start, "w") as stream:
            json.dump({"environment": environment, "has_input": has_input}, stream)


def fork_rank(run: Run) -> Child:
    """Fork; the child waits for `Child.give_orders`, then runs `run(faults, reports)`."""
    hold_standard_descriptors()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child_stdin, stdin = os.pipe()
    stdout, child_stdout = os.pipe()
    stderr, child_stderr = os.pipe()
    for descriptor in (stdout, stderr):
        with contextlib.suppress(OSError):  # a user's pipes may hold so much in total; the usual size does too
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
    reports = ReportPipe()
    child_start, start = os.pipe()
    faults = os.memfd_create("dtrain-faults", 0)
    parent = os.getpid()
    # Who asks a rank for its stacks while it starts or finalizes, when faulthandler does not listen, must not kill it.
    signal.signal(STACKS_SIGNAL, signal.SIG_IGN)
    pid = os.fork()
    if pid == 0:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(COULD_NOT_START)
        for descriptor in (stdin, stdout, stderr, start):
            os.close(descriptor)
        reports.become_rank()
        stacks = out_of_the_way(faults)
        _become_rank(lambda: run(stacks, reports), child_stdin, child_stdout, child_stderr, child_start)
    for descriptor in (child_stdin, child_stdout, child_stderr, child_start):
        os.close(descriptor)
    return Child(pid, stdin, stdout, stderr, reports, start, faults)


def _become_rank(run: Callable[[], int], stdin: int, stdout: int, stderr: int, start: int) -> NoReturn:
    os.setsid()
    for descriptor, number in ((stdout, 1), (stderr, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    # Into a pipe Python would write only full buffers; people want to see lines, and prompts, when they are written.
    sys.stdout = sys.__stdout__ = _unbuffered(1)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = _unbuffered(2)  # type: ignore[misc]
    with os.fdopen(start) as stream:
        text = stream.read()
    if not text:
        os._exit(COULD_NOT_START)  # the supervisor left before the job began
    orders = json.loads(text)
    os.environ.update(orders["environment"])
    if orders["has_input"]:
        os.dup2(stdin, 0)
        sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc]  # noqa: SIM115
    os.close(stdin)
    sys.exit(run())


def _unbuffered(descriptor: int) -> TextIOWrapper:
    """Text over the bare descriptor, as `python -u` has it; in UTF-8 where this process was started without streams."""
    ours = sys.stdout or sys.stderr
    encoding = ours.encoding if ours is not None else "utf-8"
    errors = "backslashreplace" if descriptor == 2 else sys.stdout.errors if sys.stdout is not None else "strict"
    return TextIOWrapper(_WholeWrites(descriptor, "w", closefd=False), encoding, errors, write_through=True)


class _WholeWrites(FileIO):
    """A descriptor whose `write` writes all: a signal may cut a bare write short, and text above would be lost."""

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while done < len(view):
            done += super().write(view[done:]) or 0
        return done
