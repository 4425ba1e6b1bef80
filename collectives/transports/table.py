"""The table of transports, in the order in which a group of ranks asks them. A new one is a file and a row here.

`collectives.init`, `split`, lanes and communicators of devices take the first that has a reason to be taken; the
communicator keeps the reason. The contract's tests run over every row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from dtrain.base.errors import CollectiveError, expected
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.transports.membership import Ground, Membership


class Transport(Protocol):
    """What a row names: a class of communicators."""

    @classmethod
    def detect(cls, group: Membership, /) -> str:
        """Why it is the one for this group, or nothing where it is not."""

    @classmethod
    def join(cls, group: Membership, /) -> Communicator | None:
        """The group's communicator, or None on a rank that is not in it. All ranks that it came of are here."""


@dataclass(frozen=True, slots=True)
class Row:
    """A transport: the module and class of its communicators, what a group needs to have before, and a few words."""

    module: str
    communicator: str
    ground: Ground
    summary: str

    def load(self) -> Transport:
        """The class."""
        return cast(Transport, getattr(import_module(self.module), self.communicator))


TRANSPORTS = {
    "self": Row(
        "dtrain.collectives.transports.self_communicator", "SelfCommunicator", "process", "a world of one: copies"
    ),
    "mpi_shared": Row(
        "dtrain.collectives.transports.mpi_communicator",
        "MpiSharedCommunicator",
        "mpi",
        "MPI ranks of one host: shared memory",
    ),
    "mpi_messages": Row(
        "dtrain.collectives.transports.message_communicator",
        "MpiMessageCommunicator",
        "mpi",
        "MPI ranks anywhere: messages",
    ),
    "nccl": Row(
        "dtrain.collectives.transports.nccl_communicator", "NcclCommunicator", "communicator", "arrays on GPUs"
    ),
    "silent": Row(
        "dtrain.collectives.transports.silent_communicator",
        "SilentCommunicator",
        "communicator",
        "nothing is exchanged, for a benchmark",
    ),
}


def choose(group: Membership) -> tuple[str, str]:
    """The transport of a group and why it is this one.

    Raises:
        CollectiveError: none takes the group.
    """
    asked = {name: row for name, row in TRANSPORTS.items() if row.ground == group.ground}
    forced = group.job.forced if group.job is not None and group.ground == "mpi" else None
    if forced is not None:
        if forced[0] not in asked:
            raise ValueError(expected("transport", f"one of auto, {', '.join(asked)}", repr(forced[0])))
        return forced
    for name, row in asked.items():
        if reason := row.load().detect(group):
            return name, reason
    given = f"none of {', '.join(asked)}"
    raise CollectiveError(expected("collectives", f"a transport for {len(group.ranks)} ranks", given))


def connect(mine: Membership, others: Sequence[Membership] = ()) -> Communicator | None:
    """This rank's communicator (collective over all ranks that the groups come of).

    Args:
        mine: the group of this rank, or of nobody.
        others: all groups that are made at the same time, alike on all ranks.
    """
    name, reason = choose(mine) if mine.ranks else ("", "")
    wanted, made = {name, *(choose(other)[0] for other in others)}, None
    for its_name in TRANSPORTS:
        if its_name in wanted:
            communicator = join(its_name, mine if its_name == name else mine.of_nobody(), reason)
            made = made or communicator
    return made


def join(name: str, group: Membership, reason: str) -> Communicator | None:
    """The communicator of a transport that is not asked: see `Transport.join`."""
    communicator = TRANSPORTS[name].load().join(group)
    if communicator is not None:
        communicator.reason = reason
    return communicator
