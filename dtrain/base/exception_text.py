"""An exception as text for a report, whatever the exception does: the rank that fails must be the one that is named.

A `__str__` may raise, a cause may be as long as the stack, a text may be a gigabyte or hold bytes that are no UTF-8.
Nothing here raises, and what it returns fits into one message.
"""

from __future__ import annotations

import traceback
from types import TracebackType

MAX_MESSAGE = 1 << 16  # characters
MAX_TRACEBACK = 1 << 20

_SPELLED = "<spelling of "  # what `spelling` compiles around public functions


def exception_name(error: BaseException) -> str:
    """The class's name, as a traceback shows it."""
    try:
        return str(type(error).__qualname__)
    except BaseException:  # a metaclass of the user's
        return "an exception without a name"


def exception_message(error: BaseException) -> str:
    """`str(error)`, or why there is none."""
    return object_text(error, MAX_MESSAGE)


def object_text(value: object, limit: int = MAX_MESSAGE) -> str:
    """`str(value)` in at most about `limit` characters, or why there is none."""
    try:
        return shortened(str(value), limit)
    except BaseException as second:
        return f"(its text cannot be shown: __str__ raised {exception_name(second)})"


def frames_of_user(error: BaseException, frames: TracebackType | None) -> TracebackType | None:
    """`frames` up to the last one of the user's, for an error that dtrain raised on purpose: its text says the rest.

    Of any other error all frames are kept, and of ours at least one.
    """
    names = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    if "dtrain.base.errors.DtrainError" not in names:
        return frames
    chain: list[TracebackType] = []
    while frames is not None:
        chain.append(frames)
        frames = frames.tb_next
    while len(chain) > 1 and _is_ours(chain[-1]):
        chain.pop()
    kept: TracebackType | None = None
    for one in reversed(chain):
        kept = TracebackType(kept, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return kept


def _is_ours(one: TracebackType) -> bool:
    """By the module's name: an editable install has files of dtrain in several folders."""
    frame = one.tb_frame
    is_module = frame.f_globals.get("__name__", "").partition(".")[0] == "dtrain"
    return is_module or frame.f_code.co_filename.startswith(_SPELLED)


def exception_traceback(error: BaseException, frames: TracebackType | None) -> str:
    """The traceback with causes and notes, from `frames` on; as much of it as can be made."""
    try:
        return shortened("".join(traceback.format_exception(type(error), error, frames)), MAX_TRACEBACK)
    except BaseException:
        last = f"{exception_name(error)}: {exception_message(error)}\n"
    try:
        return shortened(
            "".join(["Traceback (most recent call last):\n", *traceback.format_tb(frames)]) + last, MAX_TRACEBACK
        )
    except BaseException:
        return last


def shortened(text: str, limit: int) -> str:
    """The text, or its begin and end and how much is left out between them."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n… {len(text) - 2 * half} characters left out …\n{text[-half:]}"
