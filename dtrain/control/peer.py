"""One client of the control channel as the server sees it."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from typing import Literal

from dtrain.control.messages import Role
from dtrain.control.wire import FrameReader

MAX_HELLO_BYTES = 1 << 16  # a stranger may not make us hold more than this


@dataclass(slots=True, eq=False)
class Peer:
    """One connected client. `rank` is −1 until it has said hello."""

    connection: socket.socket
    since: float
    role: Role | Literal[""] = ""
    rank: int = -1
    host: str = ""
    address: str = ""  # where its connection comes from
    pid: int = 0
    collective_index: int = -1
    call_text: str = ""
    progress_time: float = 0.0  # monotonic, when the last progress arrived
    incoming: FrameReader = field(default_factory=lambda: FrameReader(MAX_HELLO_BYTES))
    outgoing: bytearray = field(default_factory=bytearray)

    def __str__(self) -> str:
        return f"rank {self.rank} (host {self.host}, pid {self.pid})"
