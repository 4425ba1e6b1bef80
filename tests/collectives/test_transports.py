"""The table of transports: which one a group takes, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import pytest

from dtrain.base.errors import CollectiveError
from dtrain.collectives.transports import table
from dtrain.collectives.transports.membership import Membership
from dtrain.collectives.transports.mpi_rank import MpiJob
from dtrain.collectives.transports.on_threads import ON_THREADS
from dtrain.collectives.transports.self_communicator import SelfCommunicator
from dtrain.collectives.transports.table import TRANSPORTS, Row, choose, connect, join
from dtrain.collectives.world import context


def job(forced: tuple[str, str] | None = None) -> MpiJob:
    nothing: Any = None
    return MpiJob(nothing, nothing, (), forced, 0, connect)


ONE_HOST = Membership(range(3), (4, 4, 4), job=job())


@pytest.mark.parametrize(
    ("group", "name", "reason"),
    [
        (Membership(), "self", "this process is alone"),
        (ONE_HOST, "mpi_shared", "its 3 ranks share a host"),
        (replace(ONE_HOST, ranks=(2,), hosts=(4,)), "mpi_shared", "its rank is alone on its host"),
        (replace(ONE_HOST, hosts=(4, 0, 4)), "mpi_messages", "its ranks are on 2 hosts"),
        (replace(ONE_HOST, job=job(("mpi_messages", "no room"))), "mpi_messages", "no room"),
        (Membership(beside=SelfCommunicator(), device=3), "nccl", "its arrays are on cuda:3"),
    ],
)
def test_a_group_takes_the_first_that_has_a_reason(group: Membership, name: str, reason: str) -> None:
    assert choose(group) == (name, reason)


def test_a_group_that_none_takes_names_those_that_were_asked() -> None:
    with pytest.raises(CollectiveError, match="expected a transport for 1 ranks, got none of nccl, silent"):
        choose(Membership(beside=SelfCommunicator()))


@pytest.mark.parametrize("name", ["carrier pigeons", "nccl", "self"])
def test_a_transport_that_is_asked_for_has_to_suit_ranks_of_mpi(name: str) -> None:
    with pytest.raises(ValueError, match=f"expected one of auto, mpi_shared, mpi_messages, got '{name}'"):
        choose(replace(ONE_HOST, job=job((name, "asked for"))))


def test_rows_have_the_names_of_their_communicators() -> None:
    for name, row in TRANSPORTS.items():
        loaded: Any = row.load()
        assert loaded.name == name and row.summary
    for name, run in ON_THREADS.items():
        assert run((0, 0), lambda comm: comm.name) == [name] * 2


def test_a_communicator_keeps_the_reason() -> None:
    try:
        assert context.init().reason == "this process is alone"
    finally:
        context.finalize()
    beside = join("silent", Membership(range(1), beside=SelfCommunicator()), "a question")
    assert beside is not None and (beside.name, beside.reason) == ("silent", "a question")


class Newcomer(SelfCommunicator):
    name: ClassVar[str] = "newcomer"

    @classmethod
    def detect(cls, group: Membership) -> str:
        return "it came first"


def test_a_new_row_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row(Newcomer.__module__, "Newcomer", "process", "a test")
    monkeypatch.setattr(table, "TRANSPORTS", {"newcomer": row, **TRANSPORTS})
    made = connect(Membership())
    assert made is not None and (made.name, made.reason) == ("newcomer", "it came first")
    assert connect(Membership().of_nobody(), [Membership()]) is None
