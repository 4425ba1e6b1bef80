"""A rank's end of the control channel: it says what it does, and hears why the job ends.

The channel is never in the data plane: a rank sends and goes on, and a server that is slow or gone stops no training.
One `ControlServer` runs in the launcher (or in rank 0 where there is none); each rank holds one `ControlClient`, as do
the supervisors that watch the ranks and Ray's agents. `messages.py` lists what is said.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping

from dtrain.base.errors import LaunchError, expected
from dtrain.base.exception_text import exception_message, exception_name, exception_traceback
from dtrain.base.network import seconds_unanswered
from dtrain.base.rank_info import RankInfo
from dtrain.control.connection import ADDRESS_VARIABLE, TOKEN_VARIABLE, VANISHED_AFTER, connect
from dtrain.control.encoding import MessageError
from dtrain.control.messages import Ack, Hello, Message, Progress, Role, Schedule
from dtrain.control.verdict import Failure, Verdict
from dtrain.control.wire import FrameReader, encode

PROGRESS_INTERVAL = 0.2  # seconds between two progress messages of one rank; those in between are not sent


class ControlClient:
    """A rank's end of the channel. Every method returns at once, except `failure`, which waits for an answer."""

    def __init__(
        self,
        address: str,
        token: str,
        *,
        info: RankInfo,
        role: Role = "rank",
        on_verdict: Callable[[Verdict], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        on_message: Callable[[Message], None] | None = None,
    ) -> None:
        """Connect and say hello.

        Without `on_verdict` a verdict is printed and ends the process with its exit code. `on_lost` is called when the
        server goes away; without it nothing happens. Both run on the listening thread. Raises `LaunchError`.
        """
        self.info = info
        self.address = address
        self._on_verdict = on_verdict or exit_by_verdict
        self._on_lost = on_lost
        self._on_message = on_message
        self._outgoing: deque[bytes] = deque()
        self._progress: tuple[int, str, float] | None = None  # what a `Progress` is made of when one is due
        self._progress_sent = 0.0
        self._wake = threading.Condition()
        self._closed = False
        self._idle = True
        self._acks: set[int] = set()
        self._next_ack = 0
        self._socket = connect(address)
        # At once: the server takes nothing before hello, and a crowded one shows out who is slow to say it.
        hello = Hello(token=token, role=role, rank=info.rank, size=info.size, host=info.host, pid=os.getpid())
        with contextlib.suppress(OSError):  # the listening thread will find out
            self._socket.sendall(encode(hello))
        self._threads = [
            threading.Thread(target=self._send_loop, name="dtrain-control-send", daemon=True),
            threading.Thread(target=self._receive_loop, name="dtrain-control-receive", daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        # A forked data-loader worker must not hold the rank's connection open.
        os.register_at_fork(after_in_child=self._abandon)

    def send_schedule(self, group: str, position: int, digest: str, text: str) -> None:
        """Tell which collectives this rank will run in `group`, compiled after `position` collectives of the group.

        Whoever else sends another digest for the same group and position ends the job; `text` is for the diff.
        """
        self.send(Schedule(group=group, position=position, digest=digest, text=text))

    def progress(self, collective_index: int, call_text: str = "") -> None:
        """Note how far this rank is. Costs an assignment; the latest one is sent a few times a second."""
        self._progress = (collective_index, call_text, time.time())

    def failure(self, error: BaseException, *, timeout: float = 2.0) -> bool:
        """Report the exception this rank dies of; wait up to `timeout` seconds until the server has it."""
        failure = Failure(
            kind=exception_name(error),
            text=exception_message(error),
            traceback=exception_traceback(error, error.__traceback__),
            rank=self.info.rank,
            host=self.info.host,
            pid=os.getpid(),
            time=time.time(),
        )
        return self.request(failure, timeout=timeout)

    def request(self, message: Message, *, timeout: float) -> bool:
        """Send and wait until the server has handled it. False when it did not answer in time."""
        with self._wake:
            ack = self._next_ack
            self._next_ack += 1
        self.send(message, ack=ack)
        with self._wake:
            answered = self._wake.wait_for(lambda: ack in self._acks or self._closed, timeout)
            return answered and ack in self._acks

    def send(self, message: Message, *, ack: int | None = None) -> None:
        """Queue a message. Never waits, never raises: without a server it is dropped."""
        line = encode(message, ack=ack)
        with self._wake:
            if not self._closed:
                self._outgoing.append(line)
                self._wake.notify_all()

    def flush(self, timeout: float = 2.0) -> bool:
        """Wait until everything queued has been handed to the network."""
        with self._wake:
            return self._wake.wait_for(lambda: self._closed or (not self._outgoing and self._idle), timeout)

    def close(self, timeout: float = 2.0) -> None:
        """Disconnect once the server has all that was sent, or after `timeout` seconds. Safe to call twice."""
        self.flush(timeout)
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        # The server leaves when it has read to the end; to close before would throw away what is still on its way.
        self._shut(socket.SHUT_WR)
        self._join(timeout)
        self._shut(socket.SHUT_RDWR)
        self._socket.close()
        self._join(timeout)

    def leave_if_unreachable(self) -> None:
        """Disconnect, so that `on_lost` is called, where the server's host has vanished; to be called now and then."""
        with contextlib.suppress(OSError):
            if not self._closed and seconds_unanswered(self._socket) > VANISHED_AFTER:
                self._socket.shutdown(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(how)

    def _join(self, timeout: float) -> None:
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout)

    def _abandon(self) -> None:
        self._closed = True
        self._wake = threading.Condition()  # the parent's may have been held when it forked
        self._socket.close()
        forget_client(self)

    def _send_loop(self) -> None:
        while (batch := self._next_batch()) is not None:
            try:
                self._socket.sendall(batch)
            except OSError:
                return
            with self._wake:
                self._idle = True
                self._wake.notify_all()

    def _next_batch(self) -> bytes | None:
        with self._wake:
            while not (self._outgoing or self._closed or self._is_progress_due()):
                self._wake.wait(PROGRESS_INTERVAL)
            if self._closed:
                return None
            self._idle = False
            progress, self._progress = self._progress, None
            if progress is not None:
                self._outgoing.append(encode(Progress(*progress)))
                self._progress_sent = time.monotonic()
            batch = b"".join(self._outgoing)
            self._outgoing.clear()
            return batch

    def _is_progress_due(self) -> bool:
        return self._progress is not None and time.monotonic() - self._progress_sent >= PROGRESS_INTERVAL

    def _receive_loop(self) -> None:
        reader = FrameReader()
        with contextlib.suppress(OSError):
            try:
                while data := self._socket.recv(1 << 16):
                    for received in reader.feed(data):
                        self._handle(received.message)
            except MessageError as error:
                sys.stderr.write(f"dtrain: lost {self.address}, which talks another language: {error}\n")
        was_closed = self._closed
        with self._wake:
            self._closed = True
            self._wake.notify_all()
        if not was_closed and self._on_lost is not None:
            self._on_lost()

    def _handle(self, message: Message) -> None:
        if isinstance(message, Ack):
            with self._wake:
                self._acks.add(message.number)
                self._wake.notify_all()
        elif isinstance(message, Verdict):
            self._on_verdict(message)
        elif self._on_message is not None:
            self._on_message(message)


def exit_by_verdict(verdict: Verdict) -> None:
    """Print the verdict and leave: the default of a rank that runs without a launcher."""
    sys.stderr.write(verdict.text.rstrip("\n") + "\n")
    sys.stderr.flush()
    # The server may live in this very process and still have to tell the other ranks.
    time.sleep(0.2)
    # Not sys.exit: this is a side thread, and the main one may wait for ever inside MPI.
    os._exit(verdict.exit_code)


_client: ControlClient | None = None
_client_lock = threading.Lock()


def control_client(env: Mapping[str, str] | None = None) -> ControlClient | None:
    """This process's client: connected on first use where the environment names a server, else None."""
    global _client
    env = os.environ if env is None else env
    with _client_lock:
        if _client is None and env.get(ADDRESS_VARIABLE):
            info = RankInfo.from_environment(env)
            # The launcher that put the address into the environment also ends the job; its verdict kills us.
            _client = ControlClient(env[ADDRESS_VARIABLE], env.get(TOKEN_VARIABLE, ""), info=info)
        return _client


def connect_control(address: str, token: str, *, info: RankInfo) -> ControlClient:
    """Make this process's client by hand, where ranks agreed on a server among themselves. Raises if there is one."""
    global _client
    with _client_lock:
        if _client is not None:
            raise LaunchError(
                expected("control channel", "one connection a process", "a second one", "use control_client()")
            )
        _client = ControlClient(address, token, info=info)
        return _client


def forget_client(client: ControlClient) -> None:
    """Drop the process's client if it is this one; the next `control_client()` connects anew."""
    global _client
    if _client is client:
        _client = None
