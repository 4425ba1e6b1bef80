"""How messages lie on the wire: a line of JSON each, after which as many raw bytes follow as its `payload_nbytes` says.

Output and input of ranks travel as such bytes, uncoded. Reading is incremental and linear in what arrives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]

MAX_LINE_BYTES = 1 << 26
MAX_PAYLOAD_BYTES = 1 << 24


def encode(message: Message, payload: bytes = b"") -> bytes:
    """One message as one line of ASCII, so that a lone surrogate (a file name that is no UTF-8) arrives as it was."""
    if payload:
        message = message | {"payload_nbytes": len(payload)}
    return json.dumps(message, separators=(",", ":")).encode() + b"\n" + payload


def payload_size(message: Message) -> int:
    """How many raw bytes follow. Raises `ValueError` for a number, or a message, that nobody of us sends."""
    if not isinstance(message, dict):
        raise ValueError("a line that is no message")
    nbytes = message.get("payload_nbytes", 0)
    if type(nbytes) is not int or not 0 <= nbytes <= MAX_PAYLOAD_BYTES:
        raise ValueError(f"{nbytes!r} bytes after a message")
    return nbytes


class FrameReader:
    """Makes messages of chunks of bytes; the raw bytes of one are its `payload`.

    >>> reader = FrameReader()
    >>> list(reader.feed(encode({"type": "output"}, b"ab")[:-1])), list(reader.feed(b"b"))
    ([], [{'type': 'output', 'payload_nbytes': 2, 'payload': b'ab'}])
    """

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self.limit = limit  # of a line; who has not said hello gets a small one
        self._pending = bytearray()
        self._searched = 0
        self._message: Message | None = None
        self._wanted = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield what is complete. Raises `ValueError` (or what JSON raises) for bytes that are none of our messages."""
        self._pending += data
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> Message | None:
        if self._message is None and not self._read_line():
            return None
        message = self._message
        assert message is not None
        if self._wanted:
            if len(self._pending) < self._wanted:
                return None
            message["payload"] = bytes(self._pending[: self._wanted])
            del self._pending[: self._wanted]
        self._message = None
        return message

    def _read_line(self) -> bool:
        end = self._pending.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._pending)
            if self._searched > self.limit:
                raise ValueError("line too long")
            return False
        message = json.loads(self._pending[:end])
        del self._pending[: end + 1]
        self._searched = 0
        self._message, self._wanted = message, payload_size(message)
        return True
