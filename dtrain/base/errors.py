"""The errors dtrain raises on purpose.

    DtrainError
    ├── ShapeError (ValueError)            shapes that do not fit an op
    ├── DtypeError (TypeError)             a dtype an op or kernel does not take
    ├── LayoutError (ValueError)           a layout that a shape, an op or a kernel does not take
    ├── DeviceError (ValueError)           a device that does not exist or does not match
    ├── TraceError (RuntimeError)          code that cannot be captured in a graph
    ├── GraphError (ValueError)            a graph that is not well formed
    ├── CollectiveError (RuntimeError)     a collective that failed
    │   ├── CollectiveMismatchError        ranks called different collectives
    │   └── PeerLostError                  another rank left the job
    ├── CheckpointError (ValueError)       a checkpoint that cannot be read back
    └── LaunchError (RuntimeError)         ranks that cannot be started

Each also derives from the built-in in brackets, so `except ValueError` keeps working. A text says what was expected,
what was given and what to do; use `expected()` so that all of them read alike.
"""

from __future__ import annotations

from dtrain.base.rank_info import rank_tag


class DtrainError(Exception):
    """Base of every error raised on purpose. In a distributed run the text begins with `[rank r/world]`."""

    def __init__(self, message: str) -> None:
        tag = rank_tag()
        # It has one already where an error comes out of a pickle.
        super().__init__(message if message.startswith(tag) else tag + message)


class ShapeError(DtrainError, ValueError):
    """Shapes that do not fit an op."""


class DtypeError(DtrainError, TypeError):
    """A dtype that an op or kernel does not take."""


class LayoutError(DtrainError, ValueError):
    """A layout in memory that a shape, an op or a kernel does not take."""


class DeviceError(DtrainError, ValueError):
    """A device that does not exist, cannot be used or does not match its peers."""


class TraceError(DtrainError, RuntimeError):
    """Code that cannot be captured in a graph."""


class GraphError(DtrainError, ValueError):
    """A graph, or its text form, that is not well formed."""


class CollectiveError(DtrainError, RuntimeError):
    """A collective that failed."""


class CollectiveMismatchError(CollectiveError):
    """Ranks of one group called collectives that do not match. Uncaught, it ends the rank with `exit_code`.

    `sides` says who called what, one text a call, such as "ranks 0,2: all_reduce sum f32[3]".
    """

    exit_code = 120  # found before the run or during it, the code is one; `control.exit_codes` takes it from here
    sides: tuple[str, ...] = ()


class PeerLostError(CollectiveError):
    """Another rank of the group left the job, or a call half-way; `cause` says which and how, where it is known."""

    cause: str = ""


class CheckpointError(DtrainError, ValueError):
    """A checkpoint that is missing, incomplete, corrupt or made for something else."""


class LaunchError(DtrainError, RuntimeError):
    """Ranks that cannot be started."""


def exit_code_of(error: BaseException) -> int:
    """The exit code that an uncaught error gives its rank: 1, unless one of our own classes names another.

    An attribute of that name on anybody else's exception means something else (click, subprocess wrappers, HTTP).
    """
    code = getattr(type(error), "exit_code", 1) if isinstance(error, DtrainError) else 1
    return code if type(code) is int and 1 <= code <= 255 else 1


def expect_kind(where: str, value: object, kind: type, words: str = "") -> None:
    """Raise `TypeError` where `value` is no `kind`, which `words` names for people (a tensor, a list)."""
    if not isinstance(value, kind):
        raise TypeError(expected(where, words or f"a {kind.__name__}", f"{type(value).__name__}"))


def expected(where: str, wanted: str, given: str, advice: str = "") -> str:
    """Word an error the same way everywhere: who complains, what it expected, what it got, what to do.

    >>> expected("matmul", "inner sizes to agree", "(2, 3) and (4, 5)", "transpose one of them")
    'matmul: expected inner sizes to agree, got (2, 3) and (4, 5); transpose one of them'
    """
    text = f"{where}: expected {wanted}, got {given}"
    return f"{text}; {advice}" if advice else text
