"""Where in the user's code we are, for messages and graph nodes."""

from __future__ import annotations

import os
import sys


def user_source() -> str:
    """`file.py:12` of the innermost frame outside dtrain, for messages and graph nodes."""
    frame = sys._getframe(1)
    while frame is not None:
        filename = frame.f_code.co_filename
        inside = frame.f_globals.get("__name__", "").partition(".")[0] == "dtrain"
        if not inside and not filename.startswith("<") and "contextlib" not in filename:
            return f"{os.path.basename(filename)}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return "?"
