"""Exceptions that fight back are still named, in a text that fits into a message."""

from __future__ import annotations

import pytest

from dtrain.base.errors import CollectiveMismatchError, DtrainError, LaunchError, ShapeError, exit_code_of
from dtrain.base.exception_text import (
    exception_message,
    exception_name,
    exception_traceback,
    frames_of_user,
    object_text,
    shortened,
)
from dtrain.control.connection import parse_address
from dtrain.control.verdict import Failure
from dtrain.control.wire import decode, encode


class Silent(Exception):
    def __str__(self):
        raise RuntimeError("no")


class Endless(Exception):
    def __str__(self):
        return str(self)


class Leaves(Exception):
    def __str__(self):
        raise SystemExit(0)


class Hidden(type):
    def __getattribute__(cls, name):
        if name == "__qualname__":
            raise ValueError("no name")
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=Hidden):
    pass


def caught(error):
    try:
        raise error
    except BaseException as same:
        return same


@pytest.mark.parametrize("make", [Silent, Endless, Leaves])
def test_a_text_that_raises(make):
    error = caught(make())
    assert exception_message(error).startswith("(its text cannot be shown: __str__ raised ")
    assert exception_name(error) == make.__name__
    assert "in caught" in exception_traceback(error, error.__traceback__)


def test_a_class_without_a_name():
    error = caught(Nameless("x"))
    assert exception_name(error) == "an exception without a name"
    assert exception_message(error) == "x"
    assert exception_traceback(error, error.__traceback__)


def test_a_syntax_error_with_wrong_fields():
    error = SyntaxError("bad", ("file", "no number", object(), b"text"))
    assert "SyntaxError" in exception_traceback(error, None)


def test_texts_are_shortened_in_the_middle():
    error = caught(ValueError("a" * 3_000_000 + "z"))
    assert len(exception_message(error)) < 70_000
    text = exception_traceback(error, error.__traceback__)
    assert len(text) < 1_100_000
    assert text.startswith("Traceback")
    assert text.endswith("z\n")
    assert shortened("abcdef", 4) == "ab\n… 2 characters left out …\nef"
    assert object_text(7) == "7"


def test_a_lone_surrogate_travels():
    message = Failure(kind="OSError", text=exception_message(OSError("caf\udcff.txt")))
    assert decode(encode(message)).message == message


class Foreign(Exception):
    pass


@pytest.mark.parametrize("code", [0, None, "7", 256, 3, True, -1, 2.0])
def test_an_attribute_of_a_foreign_exception_is_no_exit_code(code):
    error = Foreign()
    error.exit_code = code
    assert exit_code_of(error) == 1


def test_exit_codes_of_our_own():
    assert exit_code_of(CollectiveMismatchError("x")) == 120
    assert exit_code_of(ShapeError("x")) == 1
    assert exit_code_of(ValueError("x")) == 1
    for code in (0, 256, None, True, "9"):
        assert exit_code_of(type("Own", (DtrainError,), {"exit_code": code})("x")) == 1
    assert exit_code_of(type("Own", (DtrainError,), {"exit_code": 9})("x")) == 9


def test_our_own_errors_end_at_the_users_line():
    def call():
        parse_address("nothing")

    with pytest.raises(LaunchError) as info:
        call()
    error = info.value
    text = exception_traceback(error, frames_of_user(error, error.__traceback__))
    assert 'parse_address("nothing")' in text and "control/connection.py" not in text
    assert "LaunchError" in text


def test_other_errors_keep_all_their_frames():
    try:
        parse_address(None)
    except AttributeError as error:
        assert frames_of_user(error, error.__traceback__) is error.__traceback__
        assert "control/connection.py" in exception_traceback(error, error.__traceback__)


def test_an_error_of_ours_ends_at_the_users_line_under_a_spelled_function():
    """What takes keywords of others is compiled: its frames are ours, and no place in a script."""
    import dtrain as dt
    from dtrain import collectives as dist
    from dtrain.base.errors import DtrainError
    from dtrain.base.exception_text import frames_of_user

    for _ in range(2):  # the first call compiles
        with pytest.raises(DtrainError) as caught:
            dist.scatter(dt.tensor([1.0]), [], group=dist.SelfCommunicator())
        frames = frames_of_user(caught.value, caught.value.__traceback__)
        assert frames is not None
        assert frames.tb_frame.f_code.co_filename == __file__
        assert frames.tb_next is None
