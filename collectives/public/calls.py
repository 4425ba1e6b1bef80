"""Collectives on tensors as scripts call them, in both habits: as an expression, and as PyTorch's statement.

    total = dist.all_reduce(x)          a new tensor; x stays, gradients flow
    dist.all_reduce(x)                  nobody takes the result: x itself holds it afterwards, as in PyTorch
    dist.all_gather(parts, x)           a list to fill comes first, as in PyTorch
    work = dist.all_reduce(x, async_op=True); …; work.wait()      in x as well

`group` is the text of a group, a communicator, or None for the world; `op` is a name or a member of `ReduceOp`. Ranks
named `src` and `dst` count in the world, as PyTorch's do; `root`, `source` and `destination` count in the group.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dtrain.base.errors import CollectiveError, ShapeError, TraceError, expect_kind, expected
from dtrain.base.statement import is_statement
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.communicator.work import Work
from dtrain.collectives.ops import collective_ops as ops
from dtrain.collectives.world.context import communicator_for, get_communicator, name_of
from dtrain.collectives.world.missed_calls import counted
from dtrain.core.context import context, no_grad
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.core.tensor_factory import zeros_like
from dtrain.functional import stack
from dtrain.graph.inference import expect_rules

Group = str | Communicator | None


class _Operations(type):
    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        advice = "gather with dist.all_gather, and combine the rows"
        raise AttributeError(expected("ReduceOp", "SUM, AVG, MAX, MIN or PRODUCT", name, advice))


class ReduceOp(metaclass=_Operations):
    """The reductions of `all_reduce` under PyTorch's names; each is the text that `op` takes anyway."""

    SUM = "sum"
    AVG = MEAN = "mean"
    MAX = "max"
    MIN = "min"
    PRODUCT = PROD = "prod"


class group:
    """`group.WORLD`: all ranks."""

    WORLD = None


def as_group(group: Group) -> str:
    """The text under which a group is found now."""
    return "world" if group is None else name_of(group) if isinstance(group, Communicator) else group


def in_group(where: str, group: Group, in_world: int | None, rank: int | None, default: int | None = 0) -> int:
    """A rank of the group, from its number in the world or in the group."""
    ranks = get_communicator(as_group(group))
    if in_world is not None:
        if rank is not None:
            raise TypeError(expected(where, "one rank", f"{in_world} in the world and {rank} in the group"))
        if in_world not in ranks.world_ranks:
            raise CollectiveError(expected(where, f"one of the world's ranks {ranks.world_ranks}", str(in_world)))
        return ranks.world_ranks.index(in_world)
    chosen = default if rank is None else rank
    if chosen is None:
        raise TypeError(expected(where, "the other rank", "none", f"name it: {where}(x, rank)"))
    if not hasattr(chosen, "__index__") or not 0 <= chosen < ranks.size:
        raise CollectiveError(expected(where, f"a rank of the group, 0 to {ranks.size - 1}", repr(chosen)))
    return chosen


def put(target: Tensor, result: Tensor) -> None:
    """Let `target` hold the elements of `result`, whatever its gradients are: PyTorch's collectives do the same."""
    with no_grad():
        target.assign_(result.detach() if result.shape == target.shape else result.detach().reshape(target.shape))


def _given(x: Any, result: Tensor) -> Tensor:
    """The result; a statement's goes into the tensor it was called with, which is what it returns."""
    if not is_statement():
        return result
    if not isinstance(x, Tensor):
        given = f"{type(x).__name__}, and nobody takes the result"
        raise TypeError(expected("a collective as a statement", "a tensor to put the result into", given))
    put(x, result)
    return x


def expect_untraced(where: str, advice: str = "move it out of the traced function, and pass in what it gives") -> None:
    """Refuse what a graph cannot repeat: in a traced function it would happen once, at the capture."""
    if context.tracer is not None:
        raise TraceError(expected(where, "a call outside of traced functions", "one inside", advice))


def _begun(where: str, x: Tensor, start: Callable[[Communicator, Any], Work[Any]], group: Group) -> Work[Any]:
    """A collective under way that overwrites x."""
    advice = "leave async_op out: a traced function overlaps its collectives by itself"
    expect_untraced(f"{where}(async_op=True)", advice)
    array = _plain_array(where, x)
    x.version += 1
    return start(communicator_for(array, as_group(group)), array)


def _plain_array(where: str, x: Tensor) -> Any:
    """The array of a tensor that travels as it lies. Raises where another rank cannot know what that stands for."""
    expect_rules(where, [x.type])
    return x.concrete(where)


@counted
def all_reduce(
    x: Tensor, op: str = "sum", *, group: Group = None, label: str = "", bucket_bytes: int = 0, async_op: bool = False
) -> Any:
    """Reduce over the ranks of a group; every rank gets the same bits. As a statement x holds the result.

    Args:
        op: sum, mean, max, min or prod.
        label: what is reduced (a parameter's name), for plans and messages.
        bucket_bytes: up to which the graph pass `pack_all_reduce` may pack this with others; 0 keeps it alone.
        async_op: return a `Work` at once; x holds the result after its `wait()`.
    """
    if async_op:
        return _begun("all_reduce", x, lambda ranks, a: ranks.all_reduce_async(a, op=op, out=a), group)
    return _given(x, ops.all_reduce(x, op=op, group=as_group(group), label=label, bucket_bytes=bucket_bytes))


@counted
def broadcast(
    x: Tensor, src: int | None = None, *, root: int | None = None, group: Group = None, async_op: bool = False
) -> Any:
    """The tensor of one rank on every rank; others give one of the same type. As a statement x holds it."""
    root = in_group("broadcast", group, src, root)
    if async_op:
        return _begun("broadcast", x, lambda ranks, a: ranks.broadcast_async(a, root=root, out=a), group)
    return _given(x, ops.broadcast(x, root=root, group=as_group(group)))


@counted
def reduce(
    x: Tensor, dst: int | None = None, op: str = "sum", *, root: int | None = None, group: Group = None
) -> Tensor:
    """Reduce over the ranks for one of them: the result there, x as it is on the others."""
    root = in_group("reduce", group, dst, root)
    result = ops.all_reduce(x, op=op, group=as_group(group))
    return _given(x, result) if get_communicator(as_group(group)).rank == root else x


@counted
def all_gather(x: Any, source: Tensor | None = None, *, group: Group = None, async_op: bool = False) -> Any:
    """Stack every rank's tensor on a new leading axis: (…) becomes (size, …), in rank order.

    `all_gather(tensors, x)` fills a list of tensors like x instead, one a rank.
    """
    if source is None and not isinstance(x, list | tuple):
        if async_op:
            advice = "write all_gather(tensors, x, async_op=True), or all_gather(x)"
            raise TypeError(expected("all_gather", "a list of tensors to fill with async_op", "none", advice))
        return ops.all_gather(x, group=as_group(group))
    source = _expect_source("all_gather", source)
    _expect_places("all_gather", x, group, like=source)
    rows = ops.all_gather(source.detach(), group=as_group(group))
    for place, row in zip(x, rows):
        put(place, row)
    return _done() if async_op else None


@counted
def gather(
    x: Tensor,
    places: Sequence[Tensor] | None = None,
    dst: int | None = None,
    *,
    root: int | None = None,
    group: Group = None,
) -> Any:
    """Every rank's tensor on one rank, stacked as by `all_gather`, and put into `places` if given; None elsewhere."""
    root = in_group("gather", group, dst, root)
    is_root = get_communicator(as_group(group)).rank == root
    _expect_list_of_root("gather", places, group, x, is_root=is_root)
    rows = ops.all_gather(x, group=as_group(group))
    if not is_root:
        return None
    if places is not None:
        for place, row in zip(places, rows):
            put(place, row)
    return rows


@counted
def scatter(
    x: Tensor,
    parts: Sequence[Tensor] | None = None,
    src: int | None = None,
    *,
    root: int | None = None,
    group: Group = None,
) -> Tensor:
    """Put the root's part for this rank into x and return x; others give no `parts`. All parts are like x."""
    expect_kind("scatter", x, Tensor, "a tensor to put this rank's part into")
    root = in_group("scatter", group, src, root)
    ranks = get_communicator(as_group(group))
    _expect_list_of_root("scatter", parts, group, x, is_root=ranks.rank == root)
    if ranks.rank == root:
        if parts is None:
            raise ShapeError(expected("scatter", f"{ranks.size} tensors of type {x.type} on the root", "none"))
        blocks = stack([part.detach() for part in parts])
    else:
        blocks = stack([zeros_like(x.detach())] * ranks.size)
    put(x, ops.all_to_all(blocks, group=as_group(group))[root])
    return x


@counted
def reduce_scatter(x: Tensor, parts: Sequence[Tensor] | None = None, op: str = "sum", *, group: Group = None) -> Tensor:
    """Reduce over the ranks and keep one slice each: rank r gets rows [r·k, (r+1)·k) of the result of (size·k, …).

    `reduce_scatter(x, parts)` reduces every rank's r-th part into x instead. `op` is as in `all_reduce`.
    """
    name = as_group(group)
    if parts is None:
        return ops.reduce_scatter(x, op=op, group=name)
    _expect_places("reduce_scatter", parts, group, like=x)
    put(x, ops.reduce_scatter(stack([part.detach() for part in parts]), op=op, group=name))
    return x


@counted
def all_to_all(x: Any, parts: Sequence[Tensor] | None = None, *, group: Group = None) -> Any:
    """Cut x into `size` equal blocks along axis 0; block s goes to rank s, and rank s's block r comes to rank r.

    `all_to_all(places, parts)` sends tensors of one type from a list and fills another.
    """
    if parts is None:
        return ops.all_to_all(x, group=as_group(group))
    _expect_places("all_to_all", x, group)
    _expect_places("all_to_all", parts, group, like=x[0])
    for place, row in zip(x, ops.all_to_all(stack([part.detach() for part in parts]), group=as_group(group))):
        put(place, row)
    return None


def _expect_tensors(where: str, place: Tensor, x: Tensor) -> None:
    for one in (place, x):
        expect_kind(where, one, Tensor, "two tensors, one to fill and one to send")


@counted
def all_gather_into(place: Tensor, x: Tensor, *, group: Group = None) -> None:
    """Fill `place`, (size, …) or (size·k, …), with every rank's x."""
    _expect_tensors("all_gather_into", place, x)
    put(place, ops.all_gather(x.detach(), group=as_group(group)))


@counted
def reduce_scatter_into(place: Tensor, x: Tensor, op: str = "sum", *, group: Group = None) -> None:
    """Fill `place` with this rank's slice of the sum of x over the ranks."""
    _expect_tensors("reduce_scatter_into", place, x)
    put(place, reduce_scatter(x.detach(), op=op, group=group))


@counted
def all_to_all_into(place: Tensor, x: Tensor, *, group: Group = None) -> None:
    """Fill `place` with what `all_to_all(x)` gives."""
    _expect_tensors("all_to_all_into", place, x)
    put(place, ops.all_to_all(x.detach(), group=as_group(group)))


# Between two ranks ----------------------------------------------------------------------------------------------------


def send(
    x: Tensor, dst: int | None = None, *, destination: int | None = None, group: Group = None, tag: int = 0
) -> None:
    """Send a tensor to one rank; returns as soon as x may be changed."""
    isend(x, dst, destination=destination, group=group, tag=tag).wait()


def recv(x: Tensor, src: int | None = None, *, source: int | None = None, group: Group = None, tag: int = 0) -> int:
    """Receive a tensor from one rank into x. Returns the world's number of the rank it came from."""
    expect_untraced("recv")
    number = in_group("recv", group, src, source, None)
    array = _plain_array("recv", x)
    x.version += 1
    communicator_for(array, as_group(group)).recv(source=number, tag=tag, out=array)
    return get_communicator(as_group(group)).world_ranks[number]


def isend(
    x: Tensor, dst: int | None = None, *, destination: int | None = None, group: Group = None, tag: int = 0
) -> Work[None]:
    """`send` as a `Work`, for symmetry: sending never waits."""
    expect_untraced("send")
    number = in_group("send", group, dst, destination, None)
    array = _plain_array("send", as_tensor(x))
    return communicator_for(array, as_group(group)).send_async(array, destination=number, tag=tag)


def irecv(
    x: Tensor, src: int | None = None, *, source: int | None = None, group: Group = None, tag: int = 0
) -> Work[Any]:
    """`recv` that returns at once; x holds what came after the `wait()` of the `Work`."""
    expect_untraced("recv")
    number = in_group("recv", group, src, source, None)
    array = _plain_array("recv", x)
    x.version += 1
    return communicator_for(array, as_group(group)).recv_async(source=number, tag=tag, out=array)


def _expect_source(where: str, source: Any) -> Tensor:
    if isinstance(source, Tensor):
        return source
    advice = f"write {where}(x), or {where}(tensors, x)"
    raise TypeError(expected(where, "a tensor behind the list to fill", type(source).__name__, advice))


def _expect_places(where: str, places: Any, group: Group, like: Tensor | None = None) -> None:
    """A list of one tensor a rank, all of the type of `like` or of the first: nothing is reshaped or cast unasked."""
    size = get_communicator(as_group(group)).size
    if not isinstance(places, list | tuple) or len(places) != size or not all(isinstance(t, Tensor) for t in places):
        given = f"{len(places)}" if isinstance(places, list | tuple) else type(places).__name__
        raise ShapeError(expected(where, f"a list of {size} tensors, one a rank", given))
    wanted = (like if isinstance(like, Tensor) else places[0]).type
    other = next((place.type for place in places if place.type is not wanted), None)
    if other is not None:
        raise ShapeError(expected(where, f"tensors of type {wanted} in the list", str(other)))


def _expect_list_of_root(where: str, given: Any, group: Group, like: Tensor, *, is_root: bool) -> None:
    """What only the root reads is looked at wherever it is given: what all ranks call wrongly, all refuse."""
    is_left_out = given is None or (not is_root and isinstance(given, list | tuple) and not given)
    if not is_left_out:
        _expect_places(where, given, group, like=like)


def _done() -> Work[None]:
    work: Work[None] = Work(lambda: None)
    work.carry_out()
    return work
