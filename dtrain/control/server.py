"""The watching end of the control channel: one thread, any number of ranks.

The server knows who is here, how far each rank is, and which schedules were sent; two different ones for one
position of one group are a mismatch. With `on_verdict` the host (the launcher) decides what to do; without, the verdict
goes to all ranks, each of which prints it and leaves. Needs no launcher: rank 0 may run it.
"""

from __future__ import annotations

import contextlib
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

from dtrain.base.errors import LaunchError, expected
from dtrain.base.network import seconds_unanswered
from dtrain.control.agreement import Agreement, failure_verdict
from dtrain.control.connection import VANISHED_AFTER, configure
from dtrain.control.encoding import MessageError
from dtrain.control.messages import Ack, Hello, Message, Progress, Role, Schedule
from dtrain.control.peer import Peer
from dtrain.control.verdict import Failure, Verdict
from dtrain.control.wire import MAX_LINE_BYTES, Received, encode

HELLO_TIMEOUT = 10.0
LOOK_INTERVAL = 1.0  # seconds between looks for hosts that have vanished


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
        on_garbled: Callable[[Peer, MessageError], None] | None = None,
    ) -> None:
        """Bind `host:port`; port 0 picks a free one, and a port in use is a `LaunchError`.

        `advertised_hosts` are names ranks may use when `host` is a wildcard. The callbacks run on the server's thread:
        `on_message` sees every message from hello on, `on_lost` every peer that leaves, `on_garbled` before that who is
        shown out because of what it sent.
        """
        self._listener = _listen(host, port)
        port = self._listener.getsockname()[1]
        self.address = ",".join(f"{name}:{port}" for name in advertised_hosts or (host,))
        self.token = token or secrets.token_hex(16)
        self._on_verdict = on_verdict
        self._on_message = on_message
        self._on_lost = on_lost
        self._on_garbled = on_garbled
        self._peers: dict[socket.socket, Peer] = {}
        self._agreement = Agreement()
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

    def send(self, peer: Peer, message: Message) -> None:
        """Queue a message to one peer."""
        with self._lock:
            peer.outgoing += encode(message)
        self._wake()

    def broadcast(self, message: Message, *, role: Role = "rank") -> None:
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
                self.send(peer, verdict)

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
        except OSError:
            self._drop(peer)
        except MessageError as error:
            if peer.role and self._on_garbled is not None:
                self._on_garbled(peer, error)
            self._drop(peer)

    def _read(self, peer: Peer) -> None:
        data = peer.connection.recv(1 << 18)
        if not data:
            self._drop(peer)
            return
        for received in peer.incoming.feed(data):
            self._handle(peer, received)

    def _drop(self, peer: Peer) -> None:
        with self._lock:
            if self._peers.pop(peer.connection, None) is None:
                return
        self._selector.unregister(peer.connection)
        peer.connection.close()
        if peer.role and self._on_lost is not None:
            self._on_lost(peer)

    def _handle(self, peer: Peer, received: Received) -> None:
        message = received.message
        if not peer.role:
            self._welcome(peer, message)
        elif isinstance(message, Progress):
            peer.collective_index, peer.call_text = message.collective_index, message.call_text
            peer.progress_time = time.monotonic()
        elif isinstance(message, Schedule) and (verdict := self._agreement.compare(peer, message)):
            self.declare(verdict)
        if self._on_message is not None:
            self._on_message(peer, message)
        if received.ack is not None:
            self.send(peer, Ack(received.ack))
        if isinstance(message, Failure) and self._on_verdict is None:
            self.declare(failure_verdict(peer, message))

    def _welcome(self, peer: Peer, message: Message) -> None:
        if not isinstance(message, Hello) or not hmac.compare_digest(
            message.token.encode(errors="surrogatepass"), self.token.encode()
        ):
            raise MessageError("not one of ours")
        peer.rank, peer.host, peer.pid = message.rank, message.host, message.pid
        peer.role = message.role
        peer.incoming.limit = MAX_LINE_BYTES


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
