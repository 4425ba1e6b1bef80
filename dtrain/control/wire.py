"""How messages lie on the wire: a line of JSON each, after which as many raw bytes follow as its `payload_nbytes` says.

    {"type":"progress","collective_index":4,"call_text":"all_reduce","time":1.5}
    {"type":"output","stream":"stdout","payload_nbytes":3}\\nabc

A field of bytes (output and input of ranks) travels behind the line, uncoded. `ack` in the line asks for an `Ack` of
that number. Reading is incremental and linear in what arrives.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from dtrain.base.errors import expected
from dtrain.control.encoding import MessageError, from_fields, payload_field, shown, to_fields
from dtrain.control.messages import KIND_OF, KINDS, Message

MAX_LINE_BYTES = 1 << 26
MAX_PAYLOAD_BYTES = 1 << 24
WHERE = "control message"


class Received(NamedTuple):
    """A message, and the number that is to be acknowledged, if one is."""

    message: Message
    ack: int | None = None


def encode(message: Message, *, ack: int | None = None) -> bytes:
    """One message as one line of ASCII, so that a lone surrogate (a file name that is no UTF-8) arrives as it was."""
    line: dict[str, Any] = {"type": KIND_OF[type(message)]} | to_fields(message)
    if ack is not None:
        line["ack"] = ack
    payload = b""
    if name := payload_field(type(message)):
        payload = getattr(message, name)
        line["payload_nbytes"] = len(payload)
    return json.dumps(line, separators=(",", ":")).encode() + b"\n" + payload


def decode(line: bytes, payload: bytes = b"") -> Received:
    """The message of a line and of the bytes behind it. Raises `MessageError` for what `encode` never makes."""
    return _message_of(_parsed(line), payload)


def _parsed(line: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise MessageError(expected(WHERE, "a line of JSON in UTF-8", f"{shown(line[:60])} ({what})")) from None
    if not isinstance(fields, dict):
        raise MessageError(expected(WHERE, "names with values", shown(fields)))
    return fields


def _message_of(fields: dict[str, Any], payload: bytes) -> Received:
    kind = fields.pop("type", None)
    made = KINDS.get(kind) if isinstance(kind, str) else None
    if made is None:
        raise MessageError(expected(WHERE, f"one of the kinds {', '.join(KINDS)}", shown(kind)))
    ack = fields.pop("ack", None)
    if ack is not None and type(ack) is not int:
        raise MessageError(expected(f"{WHERE} {kind}, ack", "a whole number", shown(ack)))
    name = payload_field(made)
    if (fields.pop("payload_nbytes", None) is not None) != bool(name):
        raise MessageError(expected(f"{WHERE} {kind}", f"{'a' if name else 'no'} payload", "none" if name else "one"))
    values = from_fields(made, fields, f"{WHERE} {kind}", payload={name: payload} if name else {})
    return Received(values, ack)


def _payload_size(fields: dict[str, Any]) -> int:
    nbytes = fields.get("payload_nbytes", 0)
    if type(nbytes) is not int or not 0 <= nbytes <= MAX_PAYLOAD_BYTES:
        raise MessageError(expected(f"{WHERE}, payload_nbytes", f"0 to {MAX_PAYLOAD_BYTES}", shown(nbytes)))
    return nbytes


class FrameReader:
    """Makes messages of chunks of bytes.

    >>> from dtrain.control.messages import Output
    >>> reader, sent = FrameReader(), encode(Output("stdout", b"ab"))
    >>> list(reader.feed(sent[:-1])), list(reader.feed(b"b"))
    ([], [Received(message=Output(stream='stdout', data=b'ab'), ack=None)])
    """

    def __init__(self, limit: int = MAX_LINE_BYTES) -> None:
        self.limit = limit  # of a line; who has not said hello gets a small one
        self._pending = bytearray()
        self._searched = 0
        self._fields: dict[str, Any] | None = None
        self._wanted = 0

    def feed(self, data: bytes) -> Iterator[Received]:
        """Yield what is complete. Raises `MessageError` for bytes that are none of our messages."""
        self._pending += data
        while (received := self._next()) is not None:
            yield received

    def _next(self) -> Received | None:
        if self._fields is None and not self._read_line():
            return None
        fields = self._fields
        assert fields is not None
        if len(self._pending) < self._wanted:
            return None
        payload = bytes(self._pending[: self._wanted])
        del self._pending[: self._wanted]
        self._fields = None
        return _message_of(fields, payload)

    def _read_line(self) -> bool:
        end = self._pending.find(b"\n", self._searched)
        if end < 0:
            self._searched = len(self._pending)
        if (self._searched if end < 0 else end) > self.limit:
            raise MessageError(expected(WHERE, f"a line of at most {self.limit} bytes", "a longer one"))
        if end < 0:
            return False
        fields = _parsed(bytes(self._pending[:end]))
        del self._pending[: end + 1]
        self._searched = 0
        self._fields, self._wanted = fields, _payload_size(fields)
        return True
