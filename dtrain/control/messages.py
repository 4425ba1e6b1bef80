"""Everything that is said on the control channel: one frozen dataclass a kind of message, and the table of kinds.

    rank → server         Hello · Joining · Joined · Progress · Schedule · Failure · Summary
    supervisor → server   Hello · Ready · Output · InputTaken · Stacks · Exited, and what its rank told it of its end
    server → supervisor   Start · Input · Credit · Signal · Stop · DumpStacks
    server → all          Verdict · Ack
    Ray's agent ↔ server  Hello · Spawn · Ended

`wire.py` says how they lie on the wire. A new kind is a class and a row here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dtrain.control.verdict import Failure, Verdict

Role = Literal["rank", "supervisor", "agent"]
StreamName = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """The first message of everybody: who it is, and what it knows."""

    token: str
    role: Role
    rank: int
    size: int
    host: str
    pid: int


@dataclass(frozen=True, slots=True)
class Joining:
    """The rank enters `dist.init()`, which ends when all ranks are in it."""


@dataclass(frozen=True, slots=True)
class Joined:
    """The rank has come out of `dist.init()`."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rank is: it has called `collective_index` collectives and now calls `call_text`."""

    collective_index: int
    call_text: str
    time: float  # seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What a rank will run in `group` after `position` collectives of it, a call a line. Data loaders count epochs."""

    group: str
    position: int
    digest: str
    text: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The script came to its end. `has_exchanged`: whether a collective ran; None where nobody here can tell."""

    has_exchanged: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """A supervisor's rank waits for its start; what its host is like."""

    child_pid: int
    dtrain: str
    python: str
    cores: tuple[int, ...]
    num_cores: int
    devices: tuple[str, ...]
    free_port: int


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes that the rank wrote."""

    stream: StreamName
    data: bytes


@dataclass(frozen=True, slots=True)
class InputTaken:
    """The rank has read the last piece of its standard input."""


@dataclass(frozen=True, slots=True)
class Stacks:
    """Where the rank stands, as faulthandler has it. `is_stopped`: a signal holds the process, which runs no code."""

    text: str
    is_stopped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """How the rank's process ended: by `code`, or by `signal` if that is not 0. `asked`: it was told to."""

    code: int
    signal: int
    asked: bool
    max_rss: int  # bytes
    oom_kills: int
    faults: str  # stacks from a hard crash
    time: float  # seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Let the script run, with these variables. `credit`: bytes of output that the launcher takes."""

    environment: dict[str, str]
    has_input: bool
    credit: int
    grace: float  # seconds, for a signal that comes from elsewhere


@dataclass(frozen=True, slots=True)
class Input:
    """A piece of standard input; an empty one is its end."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Credit:
    """As many bytes of output have been written, so that many more may come."""

    nbytes: int


@dataclass(frozen=True, slots=True)
class Signal:
    """Send a signal to the rank and its children."""

    number: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End the rank by a signal, and by SIGKILL after `grace` seconds."""

    number: int
    grace: float


@dataclass(frozen=True, slots=True)
class DumpStacks:
    """Ask the rank where it stands."""


@dataclass(frozen=True, slots=True)
class Ack:
    """The server has handled the message that came with this number."""

    number: int


@dataclass(frozen=True, slots=True)
class Spawn:
    """Run a command on a host."""

    host: str
    command: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The command ended with a code."""

    code: int


Message = (
    Hello | Joining | Joined | Progress | Schedule | Failure | Summary | Ready | Output | InputTaken | Stacks | Exited
    | Start | Input | Credit | Signal | Stop | DumpStacks | Verdict | Ack | Spawn | Ended
)  # fmt: skip

KINDS: dict[str, type[Message]] = {
    "hello": Hello,
    "joining": Joining,
    "joined": Joined,
    "progress": Progress,
    "schedule": Schedule,
    "failure": Failure,
    "summary": Summary,
    "ready": Ready,
    "output": Output,
    "input_taken": InputTaken,
    "stacks": Stacks,
    "exited": Exited,
    "start": Start,
    "input": Input,
    "credit": Credit,
    "signal": Signal,
    "stop": Stop,
    "dump_stacks": DumpStacks,
    "verdict": Verdict,
    "ack": Ack,
    "spawn": Spawn,
    "ended": Ended,
}
KIND_OF = {made: kind for kind, made in KINDS.items()}
