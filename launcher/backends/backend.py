"""What a backend is: one way to start ranks. `table.py` lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Protocol

from dtrain.launcher.plan.environment import RankVariables
from dtrain.launcher.plan.launch_plan import LaunchPlan, Machine
from dtrain.launcher.plan.spec import LaunchSpec


class Started(Protocol):
    """What a backend started: the processes behind the ranks."""

    def poll(self) -> int | None:
        """Exit code when everything has ended, else None. Negative for a signal, as subprocess has it."""
        ...

    def terminate(self) -> None:
        """Ask everything to end."""
        ...

    def kill(self) -> None:
        """End everything now."""
        ...

    def messages(self) -> str:
        """What the backend's own programs wrote, for when no rank can tell."""
        ...


class Backend(ABC):
    """One way to start ranks. Made for a spec, which raises `LaunchError` where something it needs is not installed."""

    passes_input: bool = False  # rank 0 inherits our standard input; otherwise it comes over the control channel
    is_optional: ClassVar[bool] = False  # the doctor calls it absent, and not missing
    takes_address: ClassVar[bool] = False  # of a running cluster (--address)
    takes_allocation: ClassVar[bool] = True  # without -np it starts as many ranks as a batch system gave room for
    kills_without_a_word: ClassVar[bool] = False  # all ranks with their supervisors, for the bad end of one
    twice_advice: ClassVar[str] = ""  # where two processes say that they are the same rank

    @abstractmethod
    def __init__(self, spec: LaunchSpec) -> None: ...

    @classmethod
    def detect(cls, spec: LaunchSpec) -> str | None:
        """Why `auto` takes this one for a job, in a few words; None where it does not."""
        return None

    @classmethod
    @abstractmethod
    def installed(cls) -> str:
        """What is here, in a few words, for the doctor. Raises `LaunchError` that says what to install."""

    @classmethod
    def refusal(cls, spec: LaunchSpec) -> str:
        """Why what was asked for cannot be had from this one, as `expected` words it; "" where it can."""
        return ""

    @classmethod
    def lost_hosts(cls, said: str) -> set[str]:
        """Hosts, by name or address, that it has lost or cannot reach any more, where what it `said` names them."""
        return set()

    @classmethod
    def first_lost(cls, said: str) -> int | None:
        """The rank whose end was the first, where what it `said` names one."""
        return None

    @abstractmethod
    def plan(self, spec: LaunchSpec, machine: Machine, variables: RankVariables) -> LaunchPlan:
        """Make the commands without starting anything."""

    @abstractmethod
    def start(self, plan: LaunchPlan, control: Mapping[str, str]) -> Started:
        """Start the commands of the plan, with its environment and the control variables. Raises `LaunchError`."""
