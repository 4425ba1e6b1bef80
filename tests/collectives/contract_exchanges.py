"""What all communicators promise of exchanges, objects, messages and groups."""

from __future__ import annotations

import numpy as np
import pytest
from contract_table import LARGE, assert_bits, check, data_of, oracle, reduced

from dtrain.base import dtype as dtypes
from dtrain.base.errors import CollectiveMismatchError
from dtrain.collectives.communicator.call_text import compact
from dtrain.collectives.communicator.contract import Communicator


@check
def all_gather_stacks_in_rank_order(comm: Communicator) -> None:
    for dtype in dtypes.ALL:
        for shape in ((), (0,), (3,), (7, 11)):
            wanted = np.stack([data_of(rank, shape, dtype) for rank in range(comm.size)])
            assert_bits(comm.all_gather(data_of(comm.rank, shape, dtype)), wanted, f"{dtype.tag} {shape}")
    out = np.empty((comm.size, LARGE), np.float32)
    out[comm.rank - 1] = data_of(comm.rank, LARGE)
    comm.all_gather(out[comm.rank - 1], out=out)
    assert_bits(out, np.stack([data_of(rank, LARGE) for rank in range(comm.size)]), "from a part of the output")


@check
def broadcast_gives_the_roots_array(comm: Communicator) -> None:
    for root in range(comm.size):
        for shape in ((), (0,), (17,), (30, 101)):
            array = data_of(comm.rank, shape, dtypes.int64)
            assert_bits(comm.broadcast(array, root=root), data_of(root, shape, dtypes.int64), f"{root} {shape}")
        array = data_of(comm.rank, LARGE)
        comm.broadcast(array, root=root, out=array)
        assert_bits(array, data_of(root, LARGE), "in place")


@check
def all_to_all_exchanges_blocks(comm: Communicator) -> None:
    for rows, width in ((0, 1), (1, 1), (2, 17), (1, 5003)):
        shape = (comm.size, rows, width)
        wanted = np.stack([data_of(rank, shape)[comm.rank] for rank in range(comm.size)]).reshape(-1, width)
        array = data_of(comm.rank, shape).reshape(-1, width)
        assert_bits(comm.all_to_all(array), wanted, f"{shape}")
        assert_bits(comm.all_to_all(array, out=array), wanted, "in place")


@check
def objects_travel(comm: Communicator) -> None:
    mine = {"rank": comm.rank, "text": "x" * (1 + 5000 * comm.rank)}
    everyone = comm.all_gather_object(mine)
    assert [value["rank"] for value in everyone] == list(range(comm.size))
    assert len(everyone[-1]["text"]) == 1 + 5000 * (comm.size - 1)
    for root in range(comm.size):
        assert comm.broadcast_object(mine if comm.rank == root else None, root=root)["rank"] == root
    comm.send_object(mine, destination=(comm.rank + 1) % comm.size, tag=7)
    assert comm.recv_object(source=(comm.rank - 1) % comm.size, tag=7)["rank"] == (comm.rank - 1) % comm.size


@check
def messages_arrive_in_order_and_by_tag(comm: Communicator) -> None:
    following, previous = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    for tag in (5, 3):
        for n in range(3):
            comm.send(data_of(comm.rank, (n, 4), salt=tag), destination=following, tag=tag)
    for tag in (3, 5):
        for n in range(3):
            assert_bits(comm.recv(source=previous, tag=tag), data_of(previous, (n, 4), salt=tag))


@check
def everybody_can_send_before_anybody_receives(comm: Communicator) -> None:
    following, previous = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    array = data_of(comm.rank, 300_000, dtypes.float64)
    comm.send(array, destination=following)
    array[:] = 0  # a sent array belongs to the caller again
    out = np.empty(300_000)
    assert comm.recv(source=previous, out=out) is out
    assert_bits(out, data_of(previous, 300_000, dtypes.float64))


@check
def messages_pass_collectives_under_way(comm: Communicator) -> None:
    following, previous = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    message = comm.recv_async(source=previous, tag=1)
    total = comm.all_reduce(data_of(comm.rank, 100))
    sent = comm.send_async(data_of(comm.rank, (2, 2), dtypes.bfloat16), destination=following, tag=1)
    assert_bits(total, reduced(comm, 100))
    assert_bits(message.wait(20), data_of(previous, (2, 2), dtypes.bfloat16))
    sent.wait(20)


@check
def a_message_of_another_kind_is_refused(comm: Communicator) -> None:
    comm.send(np.arange(3), destination=comm.rank)
    with pytest.raises(CollectiveMismatchError, match=r"expected f32 \(4,\), got s64 \(3,\)"):
        comm.recv(source=comm.rank, shape=(4,), dtype="f32")


@check
def split_makes_groups(comm: Communicator) -> None:
    members = [rank for rank in range(comm.size) if rank % 2 == comm.rank % 2]
    half = comm.split(comm.rank % 2)
    assert (half.rank, half.size) == (members.index(comm.rank), len(members))
    assert half.world_ranks == tuple(members)
    assert_bits(half.all_reduce(data_of(comm.rank, 100)), oracle([data_of(r, 100) for r in members], "sum"))
    backward = comm.split(0, key=-comm.rank)
    assert backward.rank == comm.size - 1 - comm.rank
    assert backward.all_gather_object(comm.rank) == list(range(comm.size))[::-1]
    single = half.split(comm.rank)
    assert (single.size, single.world_ranks) == (1, (comm.rank,))
    assert_bits(single.all_reduce(data_of(comm.rank, 9)), data_of(comm.rank, 9))
    others = comm.split(None if comm.rank == 0 else 3)
    assert (others is None) == (comm.rank == 0)
    if others is not None:
        assert others.all_reduce(np.ones(2))[0] == comm.size - 1
        others.close()
    for group in (half, backward, single):
        group.close()


@check
def groups_have_the_same_name_everywhere(comm: Communicator) -> None:
    half = comm.split(comm.rank % 2)
    names = comm.all_gather_object(half.group)
    assert names == [names[rank % 2] for rank in range(comm.size)]
    assert comm.group == "world"
    assert comm.groups[half.group].world_ranks == half.world_ranks
    if comm.size == 4:
        assert [name.partition("#")[0] for name in names[:2]] == ["world/0,2", "world/1,3"]
    everybody, single = comm.split(0), comm.split(comm.rank)
    own = "world/" + compact(list(range(comm.size)))
    assert everybody.group.partition("#")[0] == own, "a copy of the world is not the world"
    assert single.group.partition("#")[0] == f"world/{comm.rank}"
    groups = [half, everybody, single]
    assert len({group.group for group in groups}) == 3, "groups of equal members have names of their own"
    assert all(comm.groups[group.group].on_hosts is group.on_hosts for group in groups)
    assert comm.all_gather_object(everybody.group) == [everybody.group] * comm.size
    everybody.close()
    single.close()
    half.close()
