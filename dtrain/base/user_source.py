"""Where in the user's code we are, for messages and graph nodes."""

from __future__ import annotations

import os
import sys
from types import FrameType


def user_frame() -> FrameType | None:
    """The innermost frame outside of dtrain: who called us. None where there is none, as in a thread of ours."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and is_ours(frame):
        frame = frame.f_back
    return frame


def user_source() -> str:
    """`file.py:12` of the innermost line that the user can look up: generated code and context managers are passed."""
    frame = user_frame()
    while frame is not None:
        filename = frame.f_code.co_filename
        if not is_ours(frame) and not filename.startswith("<") and "contextlib" not in filename:
            return f"{os.path.basename(filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


def is_ours(frame: FrameType) -> bool:
    """Whether a frame runs code of dtrain."""
    name: str = frame.f_globals.get("__name__", "")
    return name.partition(".")[0] == "dtrain"
