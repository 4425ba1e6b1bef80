"""Shared memory: what is copied and what is not, and that the contract notices when the algorithms are wrong."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from dtrain.base.errors import CollectiveMismatchError
from dtrain.collectives.communicator import ordered_calls
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.memory.packed import Packed, packed_offsets
from dtrain.collectives.memory.shared_window import HEADER_BYTES, region_bytes
from dtrain.collectives.programs.rank_order import reduce_in_rank_order
from dtrain.collectives.transports import shared_communicator, shared_steps
from dtrain.collectives.transports.shared_communicator import SharedCommunicator
from dtrain.collectives.transports.thread_communicator import ThreadCommunicator, run_threads

sys.path[:0] = [str(Path(__file__).parent)]

from contract import CHECKS  # noqa: E402


def chunks_staged_by(program, monkeypatch: pytest.MonkeyPatch, size: int = 3) -> list[int]:
    """Run `program` and return how many chunks each rank has copied into shared memory."""
    staged = [0] * size
    original = Packed.read

    def count(self, *args) -> None:
        if self.nbytes > 4096:  # the message, not what ranks tell one another about their memory
            staged[int(threading.current_thread().name.removeprefix("rank "))] += 1
        original(self, *args)

    monkeypatch.setattr(Packed, "read", count)
    monkeypatch.setattr(shared_communicator, "ONE_SHOT_READ_BYTES", 1 << 14)
    run_threads(size, program, staging_bytes=1 << 14)
    return staged


@pytest.mark.parametrize("num_arrays", [1, 3])
def test_buckets_in_the_window_are_not_copied(num_arrays: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def program(comm: ThreadCommunicator) -> None:
        offsets, nbytes = packed_offsets([12004] * num_arrays)
        bucket = comm.allocate(nbytes)
        views = [bucket[offset : offset + 12004].view(np.float32) for offset in offsets]
        for view in views:
            view[:] = comm.rank + 1
        comm.all_reduce_many(views, outs=views)
        assert all((view == 6).all() for view in views)

    assert chunks_staged_by(program, monkeypatch) == [0, 0, 0]


def test_one_rank_outside_of_the_window_makes_all_of_them_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    def program(comm: ThreadCommunicator) -> None:
        bucket = comm.allocate(12000).view(np.float32)
        array = np.empty(3000, np.float32) if comm.rank == 1 else bucket
        array[:] = comm.rank + 1
        comm.all_reduce(array, out=array)
        assert (array == 6).all()

    assert chunks_staged_by(program, monkeypatch) == [1, 1, 1]


def test_large_messages_are_cut_into_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    def program(comm: ThreadCommunicator) -> None:
        comm.all_reduce(np.zeros(3 * (1 << 14) + 1, np.uint8))

    assert chunks_staged_by(program, monkeypatch) == [4, 4, 4]


@pytest.mark.parametrize(("nbytes", "meetings"), [(8192, 1), (8193, 2), (1 << 14, 2), ((1 << 14) + 1, 4)])
def test_meetings_per_message(nbytes: int, meetings: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = SharedCommunicator._meet

    def count(self, *args) -> bool:
        seen.append(self.rank)
        return original(self, *args)

    monkeypatch.setattr(SharedCommunicator, "_meet", count)
    monkeypatch.setattr(shared_communicator, "ONE_SHOT_READ_BYTES", 1 << 14)
    run_threads(2, lambda comm: comm.all_reduce(np.zeros(nbytes, np.uint8)), staging_bytes=1 << 14)
    assert len(seen) == 2 * meetings


def test_algorithms_have_names() -> None:
    def program(comm: Communicator) -> list[str]:
        return [comm.algorithm(kind, nbytes) for kind in ("all_reduce", "broadcast") for nbytes in (100, 100_000)]

    names = ["shared_one_shot", "shared_slices", "shared_copy", "shared_copy"]
    assert run_threads(2, program, staging_bytes=1 << 14) == [names, names]


def test_an_algorithm_is_called_as_the_program_that_was_carried_out() -> None:
    def program(comm: ThreadCommunicator) -> list[tuple[str, str]]:
        names = []
        for kind, nbytes in (("all_reduce", 8), ("all_reduce", 1 << 14), ("reduce_scatter", 64), ("all_to_all", 64)):
            comm._bound.clear()
            getattr(comm, kind)(np.ones(nbytes // 8))
            names.append((comm.algorithm(kind, nbytes), next(iter(comm._bound.values())).program.name))
        return names

    for names in run_threads(2, program):
        assert all(named == carried_out for named, carried_out in names)
        assert {named for named, _ in names} == {"shared_one_shot", "shared_slices", "shared_copy"}


def test_regions_keep_lines_apart() -> None:
    assert HEADER_BYTES % 64 == 0
    assert region_bytes(4096) == HEADER_BYTES + 8192


def test_the_contract_notices_another_order_of_summation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        shared_steps,
        "reduce_in_rank_order",
        lambda parts, op, *outs: reduce_in_rank_order(list(parts)[::-1], op, *outs),
    )
    for name in ("all_reduce_takes_large_arrays", "reduce_scatter_keeps_one_slice"):
        with pytest.raises(AssertionError):
            run_threads(3, CHECKS[name])


def test_the_contract_notices_missing_agreement(monkeypatch: pytest.MonkeyPatch) -> None:
    same = ordered_calls.frame_of("anything")
    monkeypatch.setattr(ordered_calls, "frame_of", lambda text, remark: same)
    with pytest.raises(BaseException) as caught:
        run_threads(3, CHECKS["every_mismatch_is_raised_on_every_rank"], timeout=2)
    assert not isinstance(caught.value, CollectiveMismatchError)
