"""Programs of ranks that send one another messages.

Slices are exchanged, each rank reduces its slice in rank order, and the slices are gathered; small reductions are
gathered whole. With `chunk_bytes` arrays pass through memory of the transport's own, chunk by chunk: MPI may still
read or write there when an error has ended the call. Without it messages leave and arrive where the arrays lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

from dtrain.base.alignment import ALIGNMENT
from dtrain.collectives.memory.packed import slices
from dtrain.collectives.programs.program import (
    Copy,
    Exchange,
    Meet,
    Part,
    Program,
    Receive,
    Reduce,
    Send,
    Slice,
    Step,
    in_chunks,
)

_Pattern = Literal["all_to_all", "all_gather"]
# Bytes. Up to here everybody gets everything in one exchange.
ONE_EXCHANGE_BYTES = 4096

_KEPT = 512  # programs, which a training step wants again and again

_CALL = Part((Meet("call"),), range(1))


def program_of(kind: str, rank: int, size: int, nbytes: int, *, root: int = 0, chunk_bytes: int = 0) -> Program:
    """The program of a kind of call, which has the name of its function."""
    if kind == "barrier":
        return barrier(rank, size)
    if kind == "broadcast":
        return broadcast(rank, size, nbytes, root, chunk_bytes)
    if kind == "all_reduce" and chunk_bytes and nbytes <= ONE_EXCHANGE_BYTES:
        return one_exchange(rank, size, nbytes)
    return _WRITERS[kind](rank, size, nbytes, chunk_bytes)


@lru_cache(_KEPT)
def one_exchange(rank: int, size: int, nbytes: int) -> Program:
    """All-reduce: everybody gets everything and reduces it."""
    whole = Slice("chunk", 0, nbytes)
    rows = _rows("parts", size, nbytes)
    steps = (
        Copy(Slice("source", 0, nbytes), whole),
        _gather(size, whole, rows),
        Reduce(rows, (whole,)),
        Copy(whole, Slice("out", 0, nbytes)),
    )
    parts = (_CALL, Part(steps, range(1))) if nbytes else (_CALL,)
    return Program("messages_all_gather", rank, size, parts, {"chunk": nbytes, "parts": size * nbytes})


@lru_cache(_KEPT)
def in_slices(rank: int, size: int, nbytes: int, chunk_bytes: int = 0) -> Program:
    """All-reduce: an exchange of slices, a reduction of one's own, and a gathering of results."""
    longest = min(nbytes, chunk_bytes or nbytes)

    def chunk(length: int, is_first: bool) -> tuple[Step, ...]:
        borders = slices(length, size)
        first, last = borders[rank]
        source, out = ("chunk", "chunk") if chunk_bytes else ("source", "out")
        rows, result = _rows("parts", size, last - first), Slice("result", 0, last - first)
        return _through_chunk(
            chunk_bytes,
            length,
            _exchange([Slice(source, *border) for border in borders], rows),
            Reduce(rows, (result,)),
            _gather(size, result, [Slice(out, *border) for border in borders]),
        )

    most = slices(longest, size)
    mine = max((last - first for first, last in most), default=0)
    scratch = {"parts": size * mine, "result": mine, **({"chunk": longest} if chunk_bytes else {})}
    return Program("messages_slices", rank, size, _after_call(nbytes, chunk_bytes, chunk), scratch)


@lru_cache(_KEPT)
def all_gather(rank: int, size: int, nbytes: int, chunk_bytes: int = 0) -> Program:
    """Everybody gets everybody's `nbytes`."""
    longest = min(nbytes, chunk_bytes or nbytes)

    def chunk(length: int, is_first: bool) -> tuple[Step, ...]:
        out = [Slice("out", row * nbytes, row * nbytes + length) for row in range(size)]
        if not chunk_bytes:
            return (_gather(size, Slice("source", 0, length), out),)
        piece, rows = Slice("chunk", 0, length), _rows("parts", size, length)
        steps = (Copy(Slice("source", 0, length), piece), _gather(size, piece, rows))
        if length == nbytes:  # in one chunk, which lies as the output does
            return (*steps, Copy(Slice("parts", 0, size * nbytes), Slice("out", 0, size * nbytes)))
        return (*steps, *(Copy(row, to) for row, to in zip(rows, out, strict=True)))

    scratch = {"chunk": longest, "parts": size * longest} if chunk_bytes else {}
    return Program("messages_all_gather", rank, size, _after_call(nbytes, chunk_bytes, chunk), scratch)


@lru_cache(_KEPT)
def broadcast(rank: int, size: int, nbytes: int, root: int, chunk_bytes: int = 0) -> Program:
    """Everybody gets the root's `nbytes`."""
    longest = min(nbytes, chunk_bytes or nbytes)

    def chunk(length: int, is_first: bool) -> tuple[Step, ...]:
        source, out = Slice("source", 0, length), Slice("out", 0, length)
        sent, received = (Slice("chunk", 0, length),) * 2 if chunk_bytes else (source, out)
        sends = tuple(Send(other, sent) for other in range(size) if other != root) if rank == root else ()
        exchange = Exchange(sends, () if rank == root else (Receive(root, received),), "broadcast")
        if not chunk_bytes:
            return (exchange, Copy(source, out)) if rank == root else (exchange,)
        put = (Copy(source, sent),) if rank == root else ()
        return (*put, exchange, Copy(received, out))

    scratch = {"chunk": longest} if chunk_bytes else {}
    return Program("messages_broadcast", rank, size, _after_call(nbytes, chunk_bytes, chunk), scratch)


@lru_cache(_KEPT)
def all_to_all(rank: int, size: int, nbytes: int, chunk_bytes: int = 0) -> Program:
    """Block r of everybody's `nbytes` goes to rank r, which puts it where its sender stands in the order of ranks."""
    return _blocks(rank, size, nbytes, chunk_bytes, "messages_all_to_all")


@lru_cache(_KEPT)
def reduce_scatter(rank: int, size: int, nbytes: int, chunk_bytes: int = 0) -> Program:
    """Block r of everybody's `nbytes` is reduced by rank r."""
    return _blocks(rank, size, nbytes, chunk_bytes, "messages_reduce_scatter")


def _blocks(
    rank: int, size: int, nbytes: int, chunk_bytes: int, name: Literal["messages_all_to_all", "messages_reduce_scatter"]
) -> Program:
    block = nbytes // size
    width = max(chunk_bytes // size // ALIGNMENT, 1) * ALIGNMENT if chunk_bytes else block
    longest, is_reduced = min(block, width), name == "messages_reduce_scatter"

    def chunk(length: int, is_first: bool) -> tuple[Step, ...]:
        blocks = [Slice("source", other * block, other * block + length) for other in range(size)]
        out = [Slice("out", other * block, other * block + length) for other in range(size)]
        sent, rows = _rows("chunk", size, length), _rows("parts", size, length)
        put = tuple(Copy(part, to) for part, to in zip(blocks, sent, strict=True)) if chunk_bytes else ()
        received = rows if chunk_bytes or is_reduced else out
        exchange = _exchange(sent if chunk_bytes else blocks, received)
        if is_reduced:
            return (*put, exchange, Reduce(rows, (Slice("out", 0, length),)))
        return (*put, exchange, *(Copy(row, to) for row, to in zip(received, out, strict=True) if row != to))

    scratch = {"chunk": size * longest} if chunk_bytes else {}
    if chunk_bytes or is_reduced:
        scratch["parts"] = size * longest
    return Program(name, rank, size, _after_call(block, width, chunk), scratch)


@lru_cache(_KEPT)
def barrier(rank: int, size: int) -> Program:
    """All ranks meet."""
    return Program("messages_barrier", rank, size, (_CALL,))


def _rows(buffer: str, size: int, nbytes: int) -> tuple[Slice, ...]:
    return tuple(Slice(buffer, row * nbytes, row * nbytes + nbytes) for row in range(size))


def _exchange(sent: Sequence[Slice], received: Sequence[Slice], pattern: _Pattern = "all_to_all") -> Exchange:
    """Every rank sends something to everyone."""
    sends = tuple(Send(peer, data) for peer, data in enumerate(sent))
    return Exchange(sends, tuple(Receive(peer, data) for peer, data in enumerate(received)), pattern)


def _gather(size: int, mine: Slice, received: Sequence[Slice]) -> Exchange:
    """Every rank sends the same to everyone."""
    return _exchange([mine] * size, received, "all_gather")


def _through_chunk(chunk_bytes: int, length: int, *steps: Step) -> tuple[Step, ...]:
    if not chunk_bytes:
        return steps
    chunk = Slice("chunk", 0, length)
    return (Copy(Slice("source", 0, length), chunk), *steps, Copy(chunk, Slice("out", 0, length)))


def _after_call(nbytes: int, chunk_bytes: int, chunk: Callable[[int, bool], tuple[Step, ...]]) -> tuple[Part, ...]:
    return (_CALL, *in_chunks(nbytes, chunk_bytes or nbytes, chunk)) if nbytes else (_CALL,)


_WRITERS: dict[str, Callable[[int, int, int, int], Program]] = {
    "all_reduce": in_slices,
    "reduce_scatter": reduce_scatter,
    "all_gather": all_gather,
    "all_to_all": all_to_all,
}
