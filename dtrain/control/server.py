"""The watching end of the control channel: one thread, any number of ranks.

The server knows who is here, how far each rank is, and which schedules were posted; two different posts for one
position of one group are a mismatch. With `on_verdict` the host (the launcher) decides what to do; without, the verdict
goes to all ranks, each of which prints it and leaves. Needs no launcher: rank 0 may run it.
"""

from __future__ import annotations

import contextlib
import difflib
import errno
import hmac
import os
import resource
import secrets
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from dtrain.base.errors import LaunchError, expected
from dtrain.base.network import seconds_unanswered
from dtrain.control.client import VANISHED_AFTER, Verdict, configure, verdict_message
from dtrain.control.exit_codes import FAILED, RANKS_DISAGREE
from dtrain.control.frames import MAX_LINE_BYTES, FrameReader, Message, encode

MAX_HELLO_BYTES = 1 << 16  # a stranger may not make us hold more than this
HELLO_TIMEOUT = 10.0
LOOK_INTERVAL = 1.0  # seconds between looks for hosts that have vanished


@dataclass(slots=True, eq=False)
class Peer:
    """One connected client. `rank` is −1 until it has said hello."""

    connection: socket.socket
    since: float
    role: str = ""
    rank: int = -1
    host: str = ""
    address: str = ""  # where its connection comes from
    pid: int = 0
    step: int = -1
    op: str = ""
    progress_time: float = 0.0  # monotonic, when the last progress arrived
    incoming: FrameReader = field(default_factory=lambda: FrameReader(MAX_HELLO_BYTES))
    outgoing: bytearray = field(default_factory=bytearray)

    def __str__(self) -> str:
        return f"rank {self.rank} (host {self.host}, pid {self.pid})"


@dataclass(frozen=True, slots=True)
class Schedule:
    """The first post for one position of one group; later ones are compared with it."""

    rank: int
    host: str
    digest: str
    text: str


class ControlServer:
    """Listens from construction to `close()`. `address` is where ranks connect, `token` what they must know."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        advertised_hosts: Sequence[str] = (),
        token: str = "",
        on_verdict: Callable[[Verdict], None] | None = None,
        on_message: Callable[[Peer, Message], None] | None = None,
        on_lost: Callable[[Peer], None] | None = None,
    ) -> None:
        """Bind `host:port`; port 0 picks a free one, and a port in use is a `LaunchError`.

        `advertised_hosts` are names ranks may use when `host` is a wildcard. The callbacks run on the server's thread:
        `on_message` sees every message after hello (as the message `hello` itself), `on_lost` every peer that leaves.
        """
        self._listener = _listen(host, port)
        port = self._listener.getsockname()[1]
        self.address = ",".join(f"{name}:{port}" for name in advertised_hosts or (host,))
        self.token = token or secrets.token_hex(16)
        self._on_verdict = on_verdict
        self._on_message = on_message
        self._on_lost = on_lost
        self._peers: dict[socket.socket, Peer] = {}
        self._schedules: dict[tuple[str, int], Schedule] = {}
        self._verdict: Verdict | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._look_at = 0.0
        self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        # Who has not said hello may hold a part of our descriptors, so that the job itself can still be started.
        self._max_strangers = max(8, min(1024, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4))
        self._selector = selectors.DefaultSelector()
        self._wake_send, self._wake_receive = socket.socketpair()
        self._wake_receive.setblocking(False)
        self._selector.register(self._wake_receive, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="dtrain-control-server", daemon=True)
        self._thread.start()
        # A forked data-loader worker must not keep the ranks' connections open.
        os.register_at_fork(after_in_child=self._close_sockets)

    @property
    def peers(self) -> list[Peer]:
        """Everyone who has said hello and is connected."""
        with self._lock:
            return [peer for peer in self._peers.values() if peer.role]

    @property
    def verdict(self) -> Verdict | None:
        """The first verdict declared, if any."""
        return self._verdict

    def send(self, peer: Peer, message: Message, payload: bytes = b"") -> None:
        """Queue a message to one peer, with raw bytes after it."""
        with self._lock:
            peer.outgoing += encode(message, payload)
        self._wake()

    def broadcast(self, message: Message, *, role: str = "rank") -> None:
        """Queue a message to all peers of a role."""
        for peer in self.peers:
            if peer.role == role:
                self.send(peer, message)

    def declare(self, verdict: Verdict) -> None:
        """End the job for this reason; only the first one counts."""
        if self._verdict is not None:
            return
        self._verdict = verdict
        if self._on_verdict is not None:
            self._on_verdict(verdict)
            return
        for peer in self.peers:
            # Who failed has its own traceback to print and is about to leave with its own code.
            if verdict.kind != "failure" or peer.rank not in verdict.ranks:
                self.send(peer, verdict_message(verdict))

    def close(self) -> None:
        """Send what is queued, then disconnect everybody. Safe to call twice."""
        self._closed = True
        self._wake()
        self._thread.join(2.0)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            self._wake_send.send(b"x")

    def _serve(self) -> None:
        try:
            while not self._closed:
                self._turn(timeout=1.0)
            self._drain(time.monotonic() + 0.5)
        finally:
            self._close_sockets()

    def _close_sockets(self) -> None:
        for peer in list(self._peers.values()):
            peer.connection.close()
        if self._reserve >= 0:
            os.close(self._reserve)
            self._reserve = -1
        for held in (self._listener, self._wake_send, self._wake_receive, self._selector):
            held.close()

    def _drain(self, deadline: float) -> None:
        while time.monotonic() < deadline and any(peer.outgoing for peer in self._peers.values()):
            self._turn(timeout=0.05)

    def _turn(self, timeout: float) -> None:
        self._want_writes()
        for key, events in self._selector.select(timeout):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj is self._wake_receive:
                with contextlib.suppress(BlockingIOError):
                    self._wake_receive.recv(4096)
            else:
                self._serve_peer(key.data, events)
        self._drop_silent_strangers()
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_INTERVAL
            self._drop_the_unreachable()

    def _want_writes(self) -> None:
        with self._lock:
            for connection, peer in self._peers.items():
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.outgoing else 0)
                if self._selector.get_key(connection).events != events:
                    self._selector.modify(connection, events, peer)

    def _accept(self) -> None:
        try:
            connection, source = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._make_room()
            return
        configure(connection)
        connection.setblocking(False)
        peer = Peer(connection, time.monotonic(), address=source[0])
        with self._lock:
            self._peers[connection] = peer
        self._selector.register(connection, selectors.EVENT_READ, peer)
        self._serve_peer(peer, selectors.EVENT_READ)  # one of ours has said hello by now
        if len(self._strangers()) > self._max_strangers:
            self._drop_oldest_stranger()

    def _strangers(self) -> list[Peer]:
        return [peer for peer in self._peers.values() if not peer.role]

    def _drop_oldest_stranger(self) -> bool:
        """Whoever has been silent for longest gives way, after a last look whether it has spoken."""
        for peer in sorted(self._strangers(), key=lambda peer: peer.since):
            self._serve_peer(peer, selectors.EVENT_READ)
            if not peer.role:
                self._drop(peer)
                return True
        return False

    def _make_room(self) -> None:
        """No descriptor is left: a stranger goes, or else who knocks is let in by a descriptor kept for that and shown
        out again. Left alone, the listener would stay readable and take all our time."""
        if self._drop_oldest_stranger() or self._reserve < 0:
            return
        os.close(self._reserve)
        with contextlib.suppress(OSError):
            self._listener.accept()[0].close()
        self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def _drop_silent_strangers(self) -> None:
        limit = time.monotonic() - HELLO_TIMEOUT
        for peer in [peer for peer in self._peers.values() if not peer.role and peer.since < limit]:
            self._drop(peer)

    def _drop_the_unreachable(self) -> None:
        for peer in list(self._peers.values()):
            if seconds_unanswered(peer.connection) > VANISHED_AFTER:
                self._drop(peer)

    def _serve_peer(self, peer: Peer, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                with self._lock:
                    sent = peer.connection.send(peer.outgoing)
                    del peer.outgoing[:sent]
            if events & selectors.EVENT_READ:
                self._read(peer)
        except BlockingIOError:
            pass
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            # A lost connection, or a line that is none of our messages: either way this peer is gone.
            self._drop(peer)

    def _read(self, peer: Peer) -> None:
        data = peer.connection.recv(1 << 18)
        if not data:
            self._drop(peer)
            return
        for message in peer.incoming.feed(data):
            self._handle(peer, message)

    def _drop(self, peer: Peer) -> None:
        with self._lock:
            if self._peers.pop(peer.connection, None) is None:
                return
        self._selector.unregister(peer.connection)
        peer.connection.close()
        if peer.role and self._on_lost is not None:
            self._on_lost(peer)

    def _handle(self, peer: Peer, message: Message) -> None:
        kind = message["type"]
        if not peer.role:
            self._welcome(peer, message)
        elif kind == "progress":
            peer.step, peer.op, peer.progress_time = int(message["step"]), str(message["op"]), time.monotonic()
        elif kind == "schedule":
            self._compare(peer, message)
        if self._on_message is not None:
            self._on_message(peer, message)
        if "ack" in message:
            self.send(peer, {"type": "ack", "ack": message["ack"]})
        if kind == "failure" and self._on_verdict is None:
            self.declare(failure_verdict(peer, message))

    def _welcome(self, peer: Peer, message: Message) -> None:
        if message["type"] != "hello" or not hmac.compare_digest(str(message["token"]).encode(), self.token.encode()):
            raise ValueError("not one of ours")
        peer.rank, peer.host, peer.pid = int(message["rank"]), str(message["host"]), int(message["pid"])
        peer.role = str(message["role"])
        peer.incoming.limit = MAX_LINE_BYTES

    def _compare(self, peer: Peer, message: Message) -> None:
        posted = Schedule(peer.rank, peer.host, str(message["digest"]), str(message["text"]))
        key = (str(message["group"]), int(message["position"]))
        first = self._schedules.setdefault(key, posted)
        if first.digest != posted.digest:
            self.declare(mismatch_verdict(*key, first, posted))


def mismatch_verdict(group: str, position: int, first: Schedule, second: Schedule) -> Verdict:
    """Both ranks' schedules as a unified diff, the lower rank first."""
    left, right = sorted((first, second), key=lambda schedule: schedule.rank)
    names = [f"rank {schedule.rank} on {schedule.host or 'unknown host'}" for schedule in (left, right)]
    left_lines, right_lines = left.text.splitlines(), right.text.splitlines()
    diff = list(difflib.unified_diff(left_lines, right_lines, names[0], names[1], lineterm="", n=3))
    if not diff:
        diff = [f"the texts are equal but the digests differ: {left.digest} and {right.digest}"]
    at = next((i for i, pair in enumerate(zip(left_lines, right_lines)) if pair[0] != pair[1]), None)
    at = min(len(left_lines), len(right_lines)) if at is None else at
    sides = [
        f"  rank {schedule.rank}: {lines[at].strip() if at < len(lines) else '(nothing more)'}"
        for schedule, lines in ((left, left_lines), (right, right_lines))
    ]
    text = [
        f"dtrain: schedule mismatch: ranks {left.rank} and {right.rank} of group {group} "
        f"run different collectives (schedule {position}).",
        f"First difference, in line {at + 1}:",
        *sides,
        *diff,
        "What to do: make every rank take the same branches and build the same model; "
        "only batch contents and batch sizes may differ.",
    ]
    return Verdict(
        kind="mismatch", exit_code=RANKS_DISAGREE, ranks=(left.rank, right.rank), text="\n".join(text) + "\n"
    )


def failure_verdict(peer: Peer, message: Message) -> Verdict:
    """What the surviving ranks print where no launcher words it for them."""
    text = (
        f"dtrain: {peer} failed with {message['exception']}: {message['message']}\n"
        f"{message['traceback'].rstrip()}\nThis ended the job on all ranks.\n"
    )
    return Verdict(kind="failure", exit_code=FAILED, ranks=(peer.rank,), text=text)


def _listen(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # Lets a port be reused right after its last server left; two servers at once still conflict on Linux.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except (OSError, OverflowError) as error:
        listener.close()
        raise LaunchError(
            expected("control server", f"to listen on {host}:{port}", str(error), "choose another port, or 0 for any")
        ) from error
    listener.setblocking(False)
    return listener
