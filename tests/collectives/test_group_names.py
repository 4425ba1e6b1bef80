"""Which group a call goes to: communicators given as `group`, groups of equal members, groups that ranks make."""

from __future__ import annotations

from typing import Any

import pytest

import dtrain as dt
from dtrain import collectives as dist
from dtrain.base.errors import CollectiveError, CollectiveMismatchError


def test_a_communicator_as_group_is_that_one_whatever_the_world_is() -> None:
    def program(world: Any) -> list[list[float]]:
        pair = world.split(world.rank % 2)
        x = dt.tensor([1.0 + world.rank])
        with dist.using(pair):
            sums = [dist.all_reduce(x, group=group).tolist() for group in (world, pair, None, "world")]
            assert dist.get_world_size(world) == 4 and dist.get_rank(world) == world.rank
            assert dist.get_world_size(pair) == 2 == dist.get_world_size()
            assert dist.broadcast(x, src=3, group=world).tolist() == [4]
        assert [dist.all_reduce(x, group=group).tolist() for group in (world, pair, None)] == [sums[0], sums[1], [10]]
        return sums

    for rank, sums in enumerate(dist.run_threads(4, program, timeout=20)):
        own = [4.0 + 2 * (rank % 2)]
        assert sums == [[10], own, own, own]


def test_groups_of_equal_members_are_told_apart() -> None:
    def program(world: Any) -> None:
        first, second = world.split(0), world.split(0)
        assert (first.group, second.group) == ("world/0-2", "world/0-2#2")
        x = dt.tensor([1.0])
        dist.all_reduce(x, group=first)
        dist.all_reduce(x, group=second.group)
        assert (first.counters.calls, second.counters.calls) == (1, 1)
        second.close()
        assert dist.all_reduce(dt.tensor([1.0]), group=first).tolist() == [3]
        with pytest.raises(CollectiveError, match="closed or of another world"):
            dist.all_reduce(x, group=second)
        assert dist.new_group([0, 1, 2]) == "world/0-2#3"  # ranks that close theirs later say the same

    dist.run_threads(3, program, timeout=20)


def test_a_group_of_another_world_is_refused() -> None:
    alone = dist.SelfCommunicator()

    def program(world: Any) -> None:
        with pytest.raises(CollectiveError, match="closed or of another world"):
            dist.all_reduce(dt.tensor([1.0]), group=alone)

    dist.run_threads(2, program, timeout=20)


@pytest.mark.parametrize("own", [lambda rank: [rank], lambda rank: [0, 1] if rank < 2 else [2], lambda rank: [0, rank]])
def test_ranks_that_make_different_groups_are_told(own: Any) -> None:
    def program(world: Any) -> str:
        with pytest.raises(CollectiveMismatchError, match="new_group: expected the same ranks on every rank") as caught:
            dist.new_group(own(world.rank))
        assert dist.all_reduce(dt.tensor([1.0])).tolist() == [3]
        return str(caught.value)

    assert len({text.partition("] ")[2] for text in dist.run_threads(3, program, timeout=20)}) == 1


def test_ranks_outside_are_refused_on_every_rank_alike() -> None:
    def program(world: Any) -> None:
        for wrong in ([0, 2], [0, 0], [], [-1]):
            with pytest.raises(CollectiveError, match="different ranks of 0 to 1"):
                dist.new_group(wrong)
        assert dist.new_group((1, 0)) == "world/0,1"

    dist.run_threads(2, program, timeout=20)
