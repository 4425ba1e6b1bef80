"""One rank's parent process: starts it, ships its output, knows exactly how it ended, leaves nothing behind.

The child (`rank_process.py`) waits until the launcher has seen every rank and sends its environment. Whatever it leaves
running is adopted and ended here.
"""

from __future__ import annotations

import contextlib
import os
import platform
import selectors
import signal
import socket
import sys
import time
from collections import deque

from dtrain.base.cores import usable_cores
from dtrain.base.errors import LaunchError
from dtrain.base.rank_info import RankInfo
from dtrain.base.version import VERSION
from dtrain.control.client import ControlClient
from dtrain.control.connection import ADDRESS_VARIABLE, TOKEN_VARIABLE
from dtrain.control.exit_codes import COULD_NOT_START, code_of_signal
from dtrain.control.messages import (
    Credit,
    DumpStacks,
    Exited,
    Input,
    Message,
    Output,
    Ready,
    Signal,
    Stacks,
    Start,
    Stop,
    StreamName,
)
from dtrain.control.verdict import Failure
from dtrain.launcher.plan.machine import oom_kills, visible_devices
from dtrain.launcher.rank.rank_input import RankInput
from dtrain.launcher.rank.rank_process import PIPE_SIZE, Child, Run, fork_rank
from dtrain.launcher.rank.reports import HEARING, parse_report
from dtrain.launcher.rank.script import STACKS_SIGNAL

SMALL = 1 << 14  # bytes; a rank that prints many short lines is read in larger pieces, PACE seconds apart
PACE = 0.002
LEFTOVER_GRACE = 0.5
LOST_GRACE = 0.5  # after the launcher is gone, nobody waits for us any more

STACKS_WAIT = 0.2  # seconds faulthandler may take to write them


def supervise(run: Run) -> int:
    """Run `run(faults, reports)` in a child as this rank and return what this process shall exit with."""
    child = fork_rank(run)
    try:
        info = RankInfo.from_environment()
        supervisor = Supervisor(child, info)
    except LaunchError as error:
        os.kill(child.pid, signal.SIGKILL)
        sys.stderr.write(f"dtrain: could not start a rank: {error}\n")
        return COULD_NOT_START
    return supervisor.watch()


class Lost:
    """The launcher is gone."""


class Supervisor:
    """Watches one child until it and all it started are gone."""

    def __init__(self, child: Child, info: RankInfo) -> None:
        self._child = child
        self._events: deque[Message | Lost] = deque()
        self._wake_send, self._wake_receive = socket.socketpair()
        self._wake_send.setblocking(False)
        self._wake_receive.setblocking(False)
        self._oom_kills = oom_kills()
        self._kill_at: float | None = None
        self._asked = False
        self._grace = 1.0  # for a signal that comes to us and not from the launcher
        self._status: int | None = None
        self._max_rss = 0
        self._streams: dict[int, StreamName] = {child.stdout: "stdout", child.stderr: "stderr"}
        self._credit = self._window = 0  # bytes of output that the launcher will take, now and at once
        self._is_reading = False
        self._is_last_call = False  # the rank is about to end: what is over the credit is read and dropped
        self._paced_until = 0.0
        self._report = b""
        self._has_reported = False  # the rank has said what it dies of
        self._stacks_at: float | None = None
        self._input: RankInput | None = None
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_receive, selectors.EVENT_READ)
        for descriptor in (*self._streams, child.reports.descriptor):
            os.set_blocking(descriptor, False)
        self._selector.register(child.reports.descriptor, selectors.EVENT_READ)
        self._handle_signals()
        self._client = ControlClient(
            os.environ.get(ADDRESS_VARIABLE, ""),
            os.environ.get(TOKEN_VARIABLE, ""),
            info=info,
            role="supervisor",
            on_message=self._hear,
            on_lost=lambda: self._hear(Lost()),
        )
        self._client.send(_facts(child.pid))

    def watch(self) -> int:
        """Serve until the child is gone; returns its exit code, 128+s for a signal s."""
        while self._status is None:
            self._turn()
        code, by_signal = _decode(self._status)
        if by_signal and not self._asked and not self._has_reported:
            # Before its output: what started the ranks may be about to kill all of them for this end, us too.
            self._client.send(Failure(kind="", text="", exit_code=code_of_signal(by_signal), signal=by_signal))
        self._drain()
        self._client.send(self._how_it_ended(code, by_signal))
        self._end_leftovers()
        self._drain()
        self._client.close(timeout=5.0)
        return code_of_signal(by_signal) if by_signal else code

    def _how_it_ended(self, code: int, by_signal: int) -> Exited:
        return Exited(
            code=code,
            signal=by_signal,
            asked=self._asked,
            max_rss=self._max_rss,
            oom_kills=oom_kills() - self._oom_kills,
            faults=_read_all(self._child.faults),
            time=time.time(),
        )

    def _handle_signals(self) -> None:
        signal.set_wakeup_fd(self._wake_send.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda got, _: self._events.append(Stop(got, self._grace)))
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, lambda got, _: self._events.append(Signal(got)))

    def _hear(self, message: Message | Lost) -> None:
        self._events.append(message)
        with contextlib.suppress(OSError):
            self._wake_send.send(b"x")

    def _turn(self) -> None:
        is_waiting = self._kill_at is not None or self._stacks_at is not None
        self._want_output(self._credit > 0 or self._is_last_call)
        for key, _ in self._selector.select(0.05 if is_waiting else 1.0):
            if key.fileobj is self._wake_receive:
                with contextlib.suppress(BlockingIOError):
                    self._wake_receive.recv(4096)
            elif key.fd == self._child.reports.descriptor:
                self._read_reports()
            elif self._input is not None and key.fd == self._child.stdin:
                self._input.write()
            else:
                self._ship(key.fd)
        while self._events:
            self._obey(self._events.popleft())
        if self._kill_at is not None and time.monotonic() >= self._kill_at:
            self._signal(signal.SIGKILL)
        if self._stacks_at is not None and time.monotonic() >= self._stacks_at:
            self._stacks_at = None
            self._client.send(Stacks(_read_all(self._child.faults)))
        self._client.leave_if_unreachable()
        self._reap()

    def _want_output(self, is_wanted: bool) -> None:
        """Without credit the rank's output stays in its pipe, and in the end the rank waits, as it would for `less`."""
        if is_wanted == self._is_reading:
            return
        self._is_reading = is_wanted
        for descriptor in self._streams:
            if is_wanted:
                self._selector.register(descriptor, selectors.EVENT_READ)
            else:
                self._selector.unregister(descriptor)

    def _ship(self, descriptor: int) -> bool:
        """Send what the pipe holds; False when there is nothing more."""
        wait = self._paced_until - time.monotonic()
        if wait > 0 and self._status is None:
            time.sleep(wait)
        try:
            data = os.read(descriptor, PIPE_SIZE)
        except BlockingIOError:
            return False
        if not data:
            if self._is_reading:
                self._selector.unregister(descriptor)
            del self._streams[descriptor]
            return False
        self._paced_until = time.monotonic() + PACE if len(data) < SMALL else 0.0
        if self._credit > 0 or not self._is_last_call:
            self._credit -= len(data)
            self._client.send(Output(self._streams[descriptor], data))
        return True

    def _read_reports(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._child.reports.descriptor, 1 << 16):
                *lines, self._report = (self._report + data).split(b"\n")
                for report in map(parse_report, lines):
                    if report is None:
                        continue
                    if isinstance(report, Failure):
                        self._has_reported = True
                        self._begin_last_call()
                        self._client.request(report, timeout=HEARING)
                        self._child.reports.note_heard()
                    else:
                        self._client.send(report)

    def _begin_last_call(self) -> None:
        """The rank ends, or shall: nothing it still prints may hold it up, whether somebody reads that or not."""
        if not self._is_last_call:
            self._is_last_call = True
            self._credit = max(self._credit, 0) + self._window

    def _obey(self, message: Message | Lost) -> None:
        match message:
            case Start():
                self._begin(message)
            case Input(data) if self._input is not None:
                self._input.take(data)
            case Credit(nbytes):
                self._credit += nbytes
            case Signal(number):
                self._signal(number)
            case Stop(number, grace):
                self._stop(number, grace)
            case DumpStacks():
                self._ask_for_stacks()
            case Lost():
                self._stop(signal.SIGTERM, LOST_GRACE)

    def _begin(self, start: Start) -> None:
        self._grace = start.grace
        self._child.give_orders(start.environment, has_input=start.has_input)
        self._input = RankInput(self._child.stdin, self._selector, self._client) if start.has_input else None
        if self._input is None:
            os.close(self._child.stdin)
        self._credit = self._window = start.credit

    def _ask_for_stacks(self) -> None:
        if self._is_stopped():
            self._client.send(Stacks("", is_stopped=True))
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._child.pid, STACKS_SIGNAL)
        self._stacks_at = time.monotonic() + STACKS_WAIT

    def _stop(self, number: int, grace: float) -> None:
        self._asked = True
        self._begin_last_call()
        if self._status is not None:
            return
        self._signal(number)
        if self._is_stopped():
            self._signal(signal.SIGCONT)  # who stands still hears no other signal
        kill_at = time.monotonic() + grace
        self._kill_at = kill_at if self._kill_at is None else min(kill_at, self._kill_at)

    def _is_stopped(self) -> bool:
        """Whether a signal (SIGSTOP, Ctrl-Z) or a debugger holds the rank, which then runs no code at all."""
        return _status_of(self._child.pid)[:1] in (["T"], ["t"])

    def _signal(self, number: int) -> None:
        """To the rank's whole session group, so that its own children hear it too; once, as handlers count."""
        try:
            os.killpg(self._child.pid, number)
        except ProcessLookupError:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.pid, number)  # it has not run setsid yet

    def _reap(self) -> None:
        """Take in ended children: the rank itself, and orphans of it that we adopted."""
        with contextlib.suppress(ChildProcessError):
            while self._status is None:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return
                if pid == self._child.pid:
                    self._status = status
                    self._max_rss = usage.ru_maxrss * 1024

    def _end_leftovers(self) -> None:
        """End what the rank left running: ask, wait a moment (a resource tracker tidies up), then kill."""
        deadline = time.monotonic() + LEFTOVER_GRACE
        asked = False
        while children := _children():
            late = time.monotonic() >= deadline
            for pid in children if late or not asked else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            asked = True
            time.sleep(0.005)
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass

    def _drain(self) -> None:
        """What is left in the pipes, each of which holds so much at most; who still fills one has left our session."""
        self._read_reports()
        for descriptor in list(self._streams):
            for _ in range(4):
                if not self._ship(descriptor):
                    break


def _children() -> list[int]:
    """Direct children of this process, from /proc."""
    own = os.getpid()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(IndexError):
                if int(_status_of(int(name))[1]) == own:
                    found.append(int(name))
    return found


def _status_of(pid: int) -> list[str]:
    """The process's state, its parent, and on, from /proc/PID/stat (proc(5)); nothing where it is gone."""
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as stream:
        # The command's name, in brackets, may hold anything; fields after it are plain.
        return stream.read().rpartition(b")")[2].decode().split()
    return []


def _facts(child_pid: int) -> Ready:
    with socket.socket() as probe:
        probe.bind(("", 0))
        free_port = probe.getsockname()[1]
    return Ready(
        child_pid=child_pid,
        dtrain=VERSION,
        python=platform.python_version(),
        cores=tuple(sorted(os.sched_getaffinity(0))),
        num_cores=usable_cores(),
        devices=tuple(visible_devices(os.environ)),
        free_port=free_port,
    )


def _decode(status: int) -> tuple[int, int]:
    """Exit code and signal number, one of which is 0."""
    if os.WIFSIGNALED(status):
        return 0, os.WTERMSIG(status)
    return os.WEXITSTATUS(status), 0


def _read_all(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode(errors="replace")
