"""The world and its groups under the names that scripts use: barriers, ranks, groups, Python objects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dtrain.base.errors import CollectiveError, CollectiveMismatchError, expect_kind, expected
from dtrain.base.rank_info import RankInfo
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.public import session
from dtrain.collectives.public.calls import Group, as_group, expect_untraced, in_group
from dtrain.collectives.world import context
from dtrain.collectives.world.missed_calls import counted

_NOTHING = object()  # None is an object to gather, too


def init_process_group(
    backend: str | None = None,
    init_method: str | None = None,
    *,
    world_size: int = -1,
    rank: int = -1,
    timeout: Any = None,
    **options: Any,
) -> Communicator:
    """`init` under PyTorch's name. The launcher says who and how many: `world_size` and `rank` must agree with it.

    Args:
        backend, init_method: not needed. Tensors on a GPU go through NCCL, others through MPI or shared memory.
        timeout: seconds, or a timedelta.

    Raises:
        CollectiveError: `rank` or `world_size` is not what the launcher says.
    """
    seconds = timeout.total_seconds() if hasattr(timeout, "total_seconds") else timeout
    world = session.init(timeout=seconds)
    given = (world.rank if rank == -1 else rank, world.size if world_size == -1 else world_size)
    if given != (world.rank, world.size):
        raise CollectiveError(
            expected(
                "init_process_group",
                f"rank {world.rank} of {world.size}, as the launcher says",
                f"rank {given[0]} of {given[1]}",
                "start the script with dtrain run -np N, and leave rank and world_size out",
            )
        )
    return world


def barrier(group: Group = None, **options: Any) -> None:
    """Return once every rank of the group has come here."""
    context.get_communicator(as_group(group)).barrier()


def get_rank(group: Group = None) -> int:
    """This rank's number in the group, −1 outside of it; before `init`, what the environment says of the world."""
    communicator = _member(group)
    return -1 if communicator is None else context.rank() if as_group(group) == "world" else communicator.rank


def get_world_size(group: Group = None) -> int:
    """Ranks in the group, −1 outside of it; before `init`, what the environment says of the world."""
    communicator = _member(group)
    return -1 if communicator is None else context.world_size() if as_group(group) == "world" else communicator.size


def local_rank() -> int:
    """This process's number on its host: which GPU is its own."""
    return RankInfo.from_environment().local_rank


def local_world_size() -> int:
    """How many ranks of the job this host has."""
    return RankInfo.from_environment().local_size


@counted
def new_group(ranks: Sequence[int] | None = None, **options: Any) -> str:
    """Make a group of these ranks of the world; every rank of the world calls it, with the same ranks.

    Returns the group's text. Ranks that are not in it get the text too, and an error where they use it.

    Raises:
        CollectiveMismatchError: on every rank, if ranks named different ones.
        CollectiveError: the ranks are none of the world.
    """
    world = context.get_communicator()
    members = list(range(world.size)) if ranks is None else sorted(ranks)
    _expect_alike(world, members)
    outside = [rank for rank in members if not 0 <= rank < world.size]
    if outside or len(set(members)) != len(members) or not members:
        raise CollectiveError(expected("new_group", f"different ranks of 0 to {world.size - 1}", str(members)))
    child = world.split(0 if world.rank in members else None)
    # Whoever is outside learns the name from the members.
    texts: list[str | None] = world.all_gather_object(None if child is None else child.group)
    return next(text for text in texts if text is not None)


def _expect_alike(world: Communicator, members: Sequence[int]) -> None:
    """Each rank that makes a group of its own alone would otherwise be put into one with all that do the same."""
    given: list[Sequence[int]] = world.all_gather_object(members)
    if any(other != given[0] for other in given):
        said = "; ".join(f"rank {rank}: {list(other)}" for rank, other in enumerate(given[:4]))
        advice = "call it for every group on every rank of the world, in the same order"
        more = f"; {len(given) - 4} more" if len(given) > 4 else ""
        raise CollectiveMismatchError(expected("new_group", "the same ranks on every rank", said + more, advice))


@counted
def all_gather_object(value: Any, other: Any = _NOTHING, *, group: Group = None) -> Any:
    """Every rank's object, in rank order; `all_gather_object(places, value)` fills a list, as PyTorch's does."""
    expect_untraced("all_gather_object")
    ranks = context.get_communicator(as_group(group))
    if other is _NOTHING:
        return ranks.all_gather_object(value)
    places, mine = value, other
    if not isinstance(places, list) or len(places) != ranks.size:
        raise TypeError(expected("all_gather_object", f"a list of {ranks.size} places to fill", repr(places)))
    places[:] = ranks.all_gather_object(mine)
    return None


@counted
def gather_object(
    value: Any,
    places: list[Any] | None = None,
    dst: int | None = None,
    *,
    root: int | None = None,
    group: Group = None,
) -> Any:
    """Every rank's object as a list on one rank, and put into `places` if given; None elsewhere."""
    expect_untraced("gather_object")
    root = in_group("gather_object", group, dst, root)
    if places is not None:
        expect_kind("gather_object", places, list, "a list to fill on the rank that gathers")
    ranks = context.get_communicator(as_group(group))
    values = ranks.all_gather_object(value)
    if ranks.rank != root:
        return None
    if places is not None:
        places[:] = values
    return values


@counted
def broadcast_object(value: Any = None, src: int | None = None, *, root: int | None = None, group: Group = None) -> Any:
    """One rank's object on every rank; nobody looks at the others' `value`."""
    expect_untraced("broadcast_object")
    root = in_group("broadcast_object", group, src, root)
    return context.get_communicator(as_group(group)).broadcast_object(value, root=root)


@counted
def broadcast_object_list(
    values: list[Any], src: int | None = None, *, root: int | None = None, group: Group = None
) -> None:
    """Replace the elements of a list by those of one rank's list."""
    expect_untraced("broadcast_object_list")
    expect_kind("broadcast_object_list", values, list)
    root = in_group("broadcast_object_list", group, src, root)
    ranks = context.get_communicator(as_group(group))
    received = ranks.broadcast_object(list(values) if ranks.rank == root else None, root=root)
    if len(received) != len(values):
        given = f"{len(received)} and {len(values)}"
        raise CollectiveError(expected("broadcast_object_list", "lists of one length on all ranks", given))
    values[:] = received


@counted
def scatter_object_list(
    place: list[Any],
    values: list[Any] | None = None,
    src: int | None = None,
    *,
    root: int | None = None,
    group: Group = None,
) -> None:
    """Put the root's object for this rank into `place[0]`; nobody looks at the others' `values`.

    Raises:
        CollectiveError: the root's list has not one object for each rank; on every rank.
    """
    expect_untraced("scatter_object_list")
    root = in_group("scatter_object_list", group, src, root)
    if not isinstance(place, list) or not place:
        raise TypeError(expected("scatter_object_list", "a list with a first place to fill", repr(place)))
    if not isinstance(values, Iterable | None):
        wanted = "a list of objects, one a rank, on the root"
        raise TypeError(expected("scatter_object_list", wanted, type(values).__name__))
    ranks = context.get_communicator(as_group(group))
    sent = ranks.broadcast_object(list(values or ()) if ranks.rank == root else None, root=root)
    if len(sent) != ranks.size:
        raise CollectiveError(expected("scatter_object_list", f"{ranks.size} objects on the root", str(len(sent))))
    place[0] = sent[ranks.rank]


def _member(group: Group) -> Communicator | RankInfo | None:
    """Who this rank is in a group, or None outside of it."""
    name = as_group(group)
    if name == "world":
        return RankInfo.from_environment() if not context.is_initialized() else context.get_communicator()
    world = context.get_communicator()
    return world.groups.get(name)
