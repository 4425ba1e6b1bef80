"""Why a job ends: one record of a rank's failure and one of the verdict, whoever makes, sends, shows or keeps them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

VerdictKind = Literal["failure", "mismatch", "timeout", "start", "interrupt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How one rank failed. A rank tells `kind`, `text`, `traceback` and `sides`; whoever watches it fills in the rest.

    `collective_index` counts the collectives that the rank had called, and is −1 where that is not known.
    """

    kind: str  # the exception's name, "" for a bare exit code or a signal
    text: str  # the exception's message, or what the script gave to sys.exit
    traceback: str = ""
    sides: tuple[str, ...] = ()  # of ranks that disagree: who called what
    rank: int = -1
    host: str = ""
    pid: int = 0
    exit_code: int = 1  # 128 + s after signal s
    signal: int = 0
    lost: bool = False  # nothing was heard of it any more, not even how it ended
    faults: str = ""  # stacks from a hard crash
    collective_index: int = -1
    call_text: str = ""
    max_rss: int = 0  # bytes
    oom_kills: int = 0
    time: float = 0.0  # seconds since the epoch
    log: str = ""  # where the rank's stderr is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why a job ends: the ranks to blame, the text for people, the exit code, and the first failure if there is one."""

    kind: VerdictKind
    exit_code: int
    text: str
    ranks: tuple[int, ...] = ()
    first: Failure | None = None

    def as_json(self) -> str:
        """The failure file."""
        return json.dumps(asdict(self), indent=2) + "\n"

    def write(self, folder: str) -> Path:
        """Write `failure.json` into a folder, which is made if need be."""
        path = Path(folder) / "failure.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(self.as_json())
        return path
