"""An exception's way out of a worker process: it is raised again as what it was, with the worker's traceback."""

from __future__ import annotations

import pickle
import traceback
from typing import Any, NoReturn

_Packed = tuple[bytes | None, str]  # the exception if it can travel, the worker's traceback as text


class WorkerTraceback(Exception):
    """Shown as the cause of an exception that a worker raised: where that was."""

    def __str__(self) -> str:
        return "\n" + str(self.args[0])


def pack_error(error: Exception) -> _Packed:
    """What goes through the pipe for an exception that is being handled."""
    text = "".join(traceback.format_exception(error))
    # The second way is for exceptions whose own __init__ does not take what they hold in `args`.
    for form in (error, (type(error), error.args, error.__dict__)):
        try:
            data = pickle.dumps(form)
            if type(_unpack(data)) is type(error):
                return data, text
        except Exception:
            continue
    return None, text


def reraise(packed: _Packed, where: str) -> NoReturn:
    """Raise what `pack_error` packed; a RuntimeError with its text if the exception itself could not travel."""
    data, text = packed
    if data is None:
        raise RuntimeError(f"{where} raised\n{text}")
    raise _unpack(data) from WorkerTraceback(f"{where} raised\n{text}")


def _unpack(data: bytes) -> BaseException:
    found: Any = pickle.loads(data)
    if isinstance(found, tuple):
        kind, arguments, attributes = found
        found = kind.__new__(kind, *arguments)
        found.args = arguments
        found.__dict__.update(attributes)
    assert isinstance(found, BaseException)
    return found
