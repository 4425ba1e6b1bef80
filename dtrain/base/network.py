"""This host's addresses, and connecting to a peer that has several. IPv4: what MPI and the control channel talk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import selectors
import socket
import struct
import time
from collections.abc import Sequence

_GET_ADDRESS = 0x8915  # SIOCGIFADDR
_FAR_AWAY = "192.0.2.1"  # of a network for documentation: only the default route leads there
_RETRANSMITS, _LAST_ACK_RECEIVED, _TCP_INFO_SIZE = 2, 56, 60  # of Linux's struct tcp_info
STAGGER = 0.25  # seconds before the next address is tried beside the one before


def address_towards(host: str = "") -> str:
    """This host's address on the way to another, or to anywhere; "" without a route. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host or _FAR_AWAY, 9))
        except OSError:
            return ""
        return str(probe.getsockname()[0])


def own_addresses(towards: str = "") -> list[str]:
    """Addresses at which other hosts may reach this one, the likeliest first: that on the way to `towards`, that of the
    default route, then one of each interface that is up. Without any network: the loopback address.
    """
    found = [address_towards(towards)] if towards else []
    found.append(address_towards())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface without an IPv4 address
                record = fcntl.ioctl(probe, _GET_ADDRESS, struct.pack("256s", os.fsencode(name)))
                found.append(socket.inet_ntoa(record[20:24]))
    return [address for address in dict.fromkeys(found) if address and not is_loopback(address)] or ["127.0.0.1"]


def is_loopback(address: str) -> bool:
    """Whether an address means this host to whoever uses it."""
    return address.startswith("127.")


def seconds_unanswered(connection: socket.socket) -> float:
    """How long the other host has acknowledged nothing, though something is sent to it again and again; else 0.

    TCP itself would go on with that for a quarter of an hour, without a keep-alive. A process there that takes nothing
    is none of this: its system answers for it. Raises OSError for a closed connection.
    """
    if not hasattr(socket, "TCP_INFO"):
        return 0.0
    record = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    retries, milliseconds = record[_RETRANSMITS], struct.unpack_from("I", record, _LAST_ACK_RECEIVED)[0]
    return milliseconds / 1000 if retries else 0.0


def connect_any(addresses: Sequence[tuple[str, int]], timeout: float) -> socket.socket:
    """Connect to the first of a peer's addresses that answers. Each gets a head start over the next, so that one which
    nobody answers costs little. Raises OSError when none does.
    """
    if len(addresses) == 1:
        return socket.create_connection(addresses[0], timeout=timeout)
    waiting = list(addresses)
    errors: list[str] = []
    begin = next_at = time.monotonic()
    with selectors.DefaultSelector() as selector, contextlib.ExitStack() as opened:
        while waiting or selector.get_map():
            now = time.monotonic()
            if now - begin > timeout:
                errors.append("no answer from the others")
                break
            if waiting and (now >= next_at or not selector.get_map()):
                attempt = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                attempt.setblocking(False)
                problem = attempt.connect_ex(waiting.pop(0))
                if problem not in (0, errno.EINPROGRESS):
                    errors.append(os.strerror(problem))
                    continue
                selector.register(attempt, selectors.EVENT_WRITE)
                next_at = now + STAGGER
            for key, _ in selector.select(min(STAGGER, timeout)):
                assert isinstance(key.fileobj, socket.socket)
                problem = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                selector.unregister(key.fileobj)
                if problem == 0:
                    return _taken_out(key.fileobj)
                errors.append(os.strerror(problem))
    raise OSError(errno.EHOSTUNREACH, ", ".join(dict.fromkeys(errors)))


def _taken_out(connection: socket.socket) -> socket.socket:
    """The same connection under another descriptor, since all attempts are closed in the end."""
    connection.setblocking(True)
    return connection.dup()
