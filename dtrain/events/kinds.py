"""The kinds of events: a frozen dataclass each, and their table. A new one is a class, a row and a part of `Event`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dtrain.control.verdict import Verdict

Value = int | float | str | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted:
    """The launcher begins: what it starts, and by which backend."""

    size: int
    backend: str
    reason: str
    script: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStarted:
    """A rank's script begins."""

    host: str
    pid: int
    node_rank: int
    local_rank: int
    num_threads: int
    device: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RankEnded:
    """A rank's process ended; `exit_code` is 128 + s after signal s, `asked` whether it had been told to end."""

    host: str
    exit_code: int
    asked: bool
    max_rss: int  # bytes
    collective_index: int  # how many collectives it had called, −1 where that is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEnded:
    """The launcher ends, with the job's exit code, after so many seconds."""

    exit_code: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A training step of this rank: its number, how long it took, and what the script measured (a loss, say)."""

    step: int
    seconds: float
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """An epoch of this rank has ended, after `step` steps in all."""

    epoch: int
    step: int
    seconds: float
    values: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkResult:
    """One row of what a benchmark measured."""

    benchmark: str
    values: Mapping[str, Value]


Event = JobStarted | RankStarted | RankEnded | JobEnded | Step | Epoch | BenchmarkResult | Verdict

KINDS: dict[str, type[Event]] = {
    "job_started": JobStarted,
    "rank_started": RankStarted,
    "step": Step,
    "epoch": Epoch,
    "benchmark_result": BenchmarkResult,
    "rank_ended": RankEnded,
    "verdict": Verdict,
    "job_ended": JobEnded,
}
KIND_OF = {made: kind for kind, made in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with when it was, in which job, and of which rank: None for the launcher's own."""

    event: Event
    time: float  # seconds since the epoch
    job: str  # "" without a launcher
    rank: int | None
