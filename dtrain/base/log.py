"""One logger for dtrain, whose every line carries the rank: `[rank 2/8] 12:30:01 dtrain.graph warning: …`.

`DTRAIN_LOG_LEVEL` (debug, info, warning, error) sets what is shown, warning where it is not set.
"""

from __future__ import annotations

import logging
import os

from dtrain.base.errors import LaunchError, expected
from dtrain.base.rank_info import rank_tag

_ROOT = "dtrain"
_LEVELS = ("debug", "info", "warning", "error")


class RankFormatter(logging.Formatter):
    """Puts the rank, as it is when the line is written, before everything else."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(name)s %(levelname)s: %(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return rank_tag() + super().format(record).replace(record.levelname, record.levelname.lower(), 1)


def get_logger(name: str = _ROOT) -> logging.Logger:
    """The logger of a module: `log = get_logger(__name__)`. Raises `LaunchError` for an unknown DTRAIN_LOG_LEVEL."""
    root = logging.getLogger(_ROOT)
    if not root.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(RankFormatter())
        root.addHandler(handler)
        root.propagate = False
        root.setLevel(_level())
    return logging.getLogger(name if name.startswith(_ROOT) else f"{_ROOT}.{name}")


def _level() -> int:
    text = os.environ.get("DTRAIN_LOG_LEVEL", "warning").lower()
    if text not in _LEVELS:
        raise LaunchError(expected("DTRAIN_LOG_LEVEL", "one of " + ", ".join(_LEVELS), repr(text)))
    return int(getattr(logging, text.upper()))
