"""Every kind of message, by enumeration: it comes back as it went, and what is no message of ours is said clearly."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from dtrain.control.encoding import MessageError
from dtrain.control.messages import KINDS, Ack, Hello, Message, Output, Progress, Stop, Summary
from dtrain.control.verdict import Failure, Verdict
from dtrain.control.wire import MAX_PAYLOAD_BYTES, FrameReader, decode, encode

ODD_TEXTS = ("", 'quote " and \\ and \n', "γ 🚀 \x00", "caf\udcff", "[rank 0/2] " * 1000)
ODD_VALUES: dict[Any, tuple[Any, ...]] = {
    int: (0, -1, 2**63, 2**100),
    float: (0.0, -1.5, 1e300, float("inf")),
    str: ODD_TEXTS,
    bool: (True, False),
    bytes: (b"", b"\n", b'{"type":"stop"}\n', bytes(range(256)) * 300),
}


def values_of(annotation: Any) -> tuple[Any, ...]:
    """A few odd values of an annotated type."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        return tuple(
            value for one in get_args(annotation) for value in ((None,) if one is NoneType else values_of(one))
        )
    if origin is Literal:
        return get_args(annotation)
    if origin is tuple:
        return (), values_of(get_args(annotation)[0])
    if origin is dict:
        return {}, dict(zip(ODD_TEXTS, values_of(get_args(annotation)[1]) * 5))
    if is_dataclass(annotation):
        return tuple(records_of(annotation))
    return ODD_VALUES[annotation]


def records_of(made: Any) -> list[Any]:
    """Records whose fields run through their values together."""
    hints = get_type_hints(made)
    choices = {field.name: values_of(hints[field.name]) for field in fields(made)}
    count = max(map(len, choices.values()), default=1)
    return [made(**{name: values[turn % len(values)] for name, values in choices.items()}) for turn in range(count)]


MESSAGES = [message for made in KINDS.values() for message in records_of(made)]


def test_the_table_is_every_kind_there_is() -> None:
    assert set(KINDS.values()) == set(get_args(Message))
    assert all(made.__dataclass_params__.frozen for made in KINDS.values())  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_as_it_went(kind: str) -> None:
    for number, message in enumerate(one for one in MESSAGES if isinstance(one, KINDS[kind])):
        line, _, payload = encode(message, ack=number).partition(b"\n")
        assert line.isascii() and json.loads(line)["type"] == kind
        received = decode(line, payload)
        assert (received.message, received.ack) == (message, number)
        assert type(received.message) is KINDS[kind]


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_all_of_them_in_pieces_of_any_size(size: int) -> None:
    data = b"".join(map(encode, MESSAGES))
    reader = FrameReader()
    pieces = [data[at : at + size] for at in range(0, len(data), size)] if size > 1 else [data[:999], data[999:]]
    assert [received.message for piece in pieces for received in reader.feed(piece)] == MESSAGES


WRONG = {int: "1", float: "1.0", str: 7, bool: 1}


def _line(message: Message, **changed: Any) -> bytes:
    return json.dumps(json.loads(encode(message).partition(b"\n")[0]) | changed).encode()


@pytest.mark.parametrize("kind", KINDS)
def test_a_wrong_type_in_any_field_is_named(kind: str) -> None:
    made = KINDS[kind]
    [message, *_] = records_of(made)
    for name, annotation in get_type_hints(made).items():
        if annotation is not bytes:
            wrong = WRONG.get(annotation, 1.5)
            with pytest.raises(MessageError, match=rf"control message {kind}, {name}: expected .*, got {wrong!r}"):
                decode(_line(message, **{name: wrong}))


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_or_an_extra_field_is_named(kind: str) -> None:
    [message, *_] = records_of(KINDS[kind])
    given = json.loads(encode(message).partition(b"\n")[0])
    payload = b"" if "payload_nbytes" in given else None
    with pytest.raises(MessageError, match=f"control message {kind}: expected no field but .*, got 'colour'"):
        decode(_line(message, colour="red"))
    if payload is not None:
        with pytest.raises(MessageError, match=f"control message {kind}: expected a payload, got none"):
            decode(json.dumps({name: value for name, value in given.items() if name != "payload_nbytes"}).encode())
    else:
        with pytest.raises(MessageError, match=f"control message {kind}: expected no payload, got one"):
            decode(_line(message, payload_nbytes=3))
    needed = [field.name for field in fields(KINDS[kind]) if field.name in given and "MISSING" in repr(field.default)]
    for name in needed:
        less = {key: value for key, value in given.items() if key != name}
        with pytest.raises(MessageError, match=f"control message {kind}: expected the field {name}, got none"):
            decode(json.dumps(less).encode())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b'{"type": "letter"}', "expected one of the kinds hello, .*, got 'letter'"),
        (b'{"kind": "stop"}', "expected one of the kinds .*, got None"),
        (b'{"type": ["stop"]}', r"expected one of the kinds .*, got \['stop'\]"),
        (b"[1]", r"expected names with values, got \[1\]"),
        (b"7", "expected names with values, got 7"),
        (b"", "expected a line of JSON in UTF-8, got b''"),
        (b"GET / HTTP/1.1\r", "expected a line of JSON in UTF-8, got b'GET / HTTP"),
        (b'{"type": "stacks", "text": "caf\xe9"}', "expected a line of JSON in UTF-8, got .*can't decode byte 0xe9"),
        (b"[" * 100_000, "expected a line of JSON in UTF-8, got .*nested too deeply"),
        (b'{"type":"ack","number":' + b"1" * 5000 + b"}", "expected a line of JSON in UTF-8, got .*digits"),
        (b'{"type": "ack", "number": true}', "ack, number: expected a whole number, got True"),
        (b'{"type": "joining", "ack": "1"}', "joining, ack: expected a whole number, got '1'"),
        (b'{"type": "verdict", "kind": "x", "exit_code": 1, "text": ""}', "verdict, kind: expected one of failure, "),
    ],
)
def test_what_is_no_message_is_a_clear_error(line: bytes, words: str) -> None:
    with pytest.raises(MessageError, match=f"^control message.*{words}"):
        decode(line)


def test_a_wrong_value_is_shown_shortened() -> None:
    with pytest.raises(MessageError) as caught:
        decode(_line(Summary(True), has_exchanged="x" * 10_000))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("sent", [b"x" * 300, b"x" * 300 + b"\n", encode(Ack(1)) + b'{"type":"ack"' + b" " * 300])
def test_a_line_that_is_too_long(sent: bytes) -> None:
    reader = FrameReader(limit=200)
    with pytest.raises(MessageError, match="expected a line of at most 200 bytes, got a longer one"):
        list(reader.feed(sent))


@pytest.mark.parametrize("nbytes", [-1, MAX_PAYLOAD_BYTES + 1, "3", True, None, 1.0])
def test_a_payload_of_no_possible_size(nbytes: object) -> None:
    sent = json.dumps({"type": "output", "stream": "stdout", "payload_nbytes": nbytes}).encode() + b"\n"
    with pytest.raises(MessageError, match="payload_nbytes: expected 0 to"):
        list(FrameReader().feed(sent))


def test_records_within_records() -> None:
    failure = Failure(kind="E", text="t", sides=("a", "b"), rank=1)
    verdict = Verdict(kind="failure", exit_code=3, text="t", ranks=(1, 2), first=failure)
    assert decode(encode(verdict).rstrip()).message == verdict
    with pytest.raises(MessageError, match="verdict, first, sides: expected a text, got 1"):
        decode(_line(verdict, first={"kind": "E", "text": "t", "sides": [1]}))
    with pytest.raises(MessageError, match="verdict, first: expected names with values, got 'E'"):
        decode(_line(verdict, first="E"))


def test_reading_is_linear_in_what_arrives() -> None:
    """Long lines in small pieces: each byte is searched once."""
    reader = FrameReader()
    line = encode(Progress(1, "x" * (1 << 22), 0.0))
    assert [one for at in range(0, len(line), 1 << 10) for one in reader.feed(line[at : at + (1 << 10)])]


def test_messages_are_values() -> None:
    assert Output("stdout", b"a") == Output("stdout", b"a") and hash(Stop(15, 1.0)) == hash(Stop(15, 1.0))
    with pytest.raises(TypeError):
        Hello()  # type: ignore[call-arg]
