"""Batches of messages, the barrier that names who is missing, and what else scripts of PyTorch ask of a group."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from helpers.thread_ranks import draw, on_ranks

import dtrain as dt
from dtrain import collectives as dist
from dtrain import nn
from dtrain.base.errors import CollectiveError


@pytest.mark.parametrize("size", [1, 2, 3, 5])
@pytest.mark.parametrize("receives_first", [False, True])
def test_a_ring_in_one_batch(size: int, receives_first: bool) -> None:
    """Also with every rank's receive before its send: PyTorch begins them together."""

    def program(rank: int, size: int) -> None:
        if size == 1:
            return
        x, place = dt.tensor(draw(rank, 3)), dt.zeros(3, dtype="f64")
        after, before = (rank + 1) % size, (rank - 1) % size
        batch = [dist.P2POp(dist.isend, x, after), dist.P2POp(dist.irecv, place, before)]
        works = dist.batch_isend_irecv(batch[::-1] if receives_first else batch)
        assert len(works) == 2
        for work in works:
            work.wait()
        np.testing.assert_array_equal(place.numpy(), draw(before, 3))

    on_ranks(size, program)


@pytest.mark.parametrize("size", [3, 5])
def test_ranks_of_a_group_and_tags(size: int) -> None:
    def program(rank: int, size: int) -> None:
        group = dist.new_group([0, size - 1])
        if rank not in (0, size - 1):
            return
        other, mine = (size - 1, 0) if rank == 0 else (0, 1)
        first, second = dt.zeros(2), dt.zeros(2)
        works = dist.batch_isend_irecv([
            dist.P2POp(dist.irecv, second, other, group=group, tag=2),
            dist.P2POp(dist.irecv, first, group_peer=1 - mine, group=group, tag=1),
            dist.P2POp(dist.isend, dt.full((2,), 10.0 + rank), other, group, 1),
            dist.P2POp(dist.isend, dt.full((2,), 20.0 + rank), group_peer=1 - mine, group=group, tag=2),
        ])  # fmt: skip
        for work in works:
            work.wait()
        assert first.tolist() == [10.0 + other] * 2 and second.tolist() == [20.0 + other] * 2

    on_ranks(size, program)


def test_what_is_no_batch() -> None:
    x = dt.zeros(1)
    for call, text in (
        (lambda: dist.P2POp(dist.all_reduce, x, 0), "dist.isend or dist.irecv"),
        (lambda: dist.P2POp(dist.isend, [1], 0), "a tensor"),
        (lambda: dist.P2POp(dist.isend, x), "got neither"),
        (lambda: dist.P2POp(dist.isend, x, 0, group_peer=0), "got both"),
        (lambda: dist.batch_isend_irecv([]), "a list of dist.P2POp, got none"),
        (lambda: dist.batch_isend_irecv([x]), "got Tensor"),
    ):
        with pytest.raises((ValueError, TypeError), match=text):
            call()  # type: ignore[no-untyped-call]
    assert repr(dist.P2POp(dist.isend, x, 3, tag=4)) == "P2POp(isend, f32[1]@cpu, 3, tag=4)"


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_everybody_came(size: int) -> None:
    def program(rank: int, size: int) -> None:
        time.sleep(0.02 * rank)
        for _ in range(3):
            dist.monitored_barrier(timeout=datetime.timedelta(seconds=30))
        dist.monitored_barrier()
        x = dt.tensor([1.0])
        dist.all_reduce(x)
        assert x.item() == size

    on_ranks(size, program)


class Meeting:
    """Lets the ranks that come begin together, and those that are late come when the others have given up."""

    def __init__(self, size: int, late: tuple[int, ...]) -> None:
        self.late = late
        self._begin, self._end = threading.Barrier(size - len(late)), threading.Barrier(size)

    def error(self, rank: int, call: Callable[[], None]) -> str:
        """What a rank's call raises."""
        (self._end if rank in self.late else self._begin).wait(60)
        with pytest.raises(CollectiveError) as caught:
            call()
        if rank not in self.late:
            self._end.wait(60)
        return str(caught.value)


@pytest.mark.parametrize(("size", "late"), [(2, (1,)), (3, (2,)), (5, (1, 3))])
def test_who_is_missing_is_named_to_all_and_the_group_goes_on(size: int, late: tuple[int, ...]) -> None:
    meeting = Meeting(size, late)

    def program(rank: int, size: int) -> str:
        text = meeting.error(rank, lambda: dist.monitored_barrier(timeout=0.5, wait_all_ranks=True))
        dist.monitored_barrier(timeout=30)  # one that came late was told so by its own first call
        x = dt.tensor([rank + 1.0])
        dist.all_reduce(x)
        assert x.item() == size * (size + 1) / 2
        return text

    who = f"rank {late[0]}" if len(late) == 1 else "ranks 1, 3"
    wanted = f"monitored_barrier: expected every rank of group 'world' within 0.5 s, got nothing from {who}"
    assert on_ranks(size, program) == [wanted] * size


def test_a_rank_that_has_left_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dtrain.collectives.public.peer_words._ANSWER_SECONDS", 0.1)

    def program(rank: int, size: int) -> str:
        if rank == 0:
            return "left"
        with pytest.raises(CollectiveError) as caught:
            dist.monitored_barrier(timeout=0.2)
        return str(caught.value)

    assert [text[-6:] for text in on_ranks(3, program)] == ["left", "rank 0", "rank 0"]


def test_in_a_group_ranks_have_the_numbers_of_the_world() -> None:
    meeting = Meeting(2, (3,))

    def program(rank: int, size: int) -> str:
        group = dist.new_group([1, 3])
        with pytest.raises(ValueError, match="monitored_barrier: expected a number of seconds above 0"):
            dist.monitored_barrier(timeout=-1)
        return meeting.error(rank, lambda: dist.monitored_barrier(group, timeout=0.5)) if rank in (1, 3) else ""

    texts = on_ranks(4, program)
    assert texts[1] == texts[3] and texts[1].endswith("nothing from rank 3")


def test_what_ranks_talk_through() -> None:
    assert on_ranks(2, lambda rank, size: (dist.get_backend(), dist.get_backend(group=None))) == [("thread",) * 2] * 2
    assert on_ranks(3, lambda rank, size: dist.is_available()) == [True] * 3


def test_what_a_wrapped_model_was_given() -> None:
    def program(rank: int, size: int) -> None:
        group = dist.new_group([0, 1])
        model = dist.DistributedDataParallel(
            nn.Linear(2, 2), device_ids=[rank], output_device=rank, process_group=group
        )
        assert model.device_ids == [rank] and model.output_device == rank and model.process_group is group
        assert model.device is model.module.weight.device
        plain = dist.DistributedDataParallel(nn.Linear(2, 2))
        assert plain.device_ids is None and plain.output_device is None and plain.in_features == 2

    on_ranks(2, program)
