"""A connection of the control channel: where it leads, how it is made, and when its other end counts as gone."""

from __future__ import annotations

import socket

from dtrain.base.errors import LaunchError, expected
from dtrain.base.network import connect_any

ADDRESS_VARIABLE = "DTRAIN_CONTROL_ADDRESS"
TOKEN_VARIABLE = "DTRAIN_JOB_TOKEN"

CONNECT_TIMEOUT = 10.0
VANISHED_AFTER = 15.0  # seconds without a sign of life from the other host's system; shorter ones are waited out


def parse_address(text: str) -> tuple[str, int]:
    """`host:port` as a pair. Raises `LaunchError`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or not 0 <= int(port) < 65536:
        raise LaunchError(expected("control channel", "an address such as 10.0.0.1:29500", repr(text)))
    return host, int(port)


def connect(address: str) -> socket.socket:
    """`address` may be several, `10.0.0.1:29500,10.1.0.1:29500`: the server's host as different networks see it."""
    places = [parse_address(part) for part in address.split(",")]
    try:
        connection = connect_any(places, CONNECT_TIMEOUT)
    except OSError as error:
        raise LaunchError(
            expected(
                "control channel",
                f"a server at {address}",
                str(error),
                f"check that this host can reach it, or unset {ADDRESS_VARIABLE}",
            )
        ) from error
    connection.settimeout(None)
    configure(connection)
    return connection


def configure(connection: socket.socket) -> None:
    """Send small lines at once, and notice within `VANISHED_AFTER` when the other host has vanished while nothing is on
    its way to it; `network.seconds_unanswered` tells of the rest. Its system answers, so its processes may pause.
    """
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 5)):
        if hasattr(socket, option):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
