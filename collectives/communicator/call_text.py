"""What every rank must agree on before bytes move: the text of a call, and the error when the texts differ."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from dtrain.base.errors import CollectiveMismatchError

# Room for a call text in the frames that ranks show each other.
CALL_TEXT_BYTES = 448
DIGEST_BYTES = 8
# Different calls that a mismatch spells out: enough to see the kind, however many ranks there are.
MAX_SIDES = 4


@lru_cache(maxsize=4096)
def call_text_of(
    kind: str, tag: str = "", shapes: tuple[tuple[int, ...], ...] = (), op: str = "", root: int | None = None
) -> str:
    """The text of a call.

    >>> call_text_of("all_reduce", "f32", ((8, 3),), "sum")
    'all_reduce sum f32[8,3]'
    >>> call_text_of("broadcast", "s64", ((2,), ()), root=1)
    'broadcast s64[2] s64[] root=1'
    """
    words = [kind, op, *(f"{tag}[{','.join(map(str, shape))}]" for shape in shapes)]
    if root is not None:
        words.append(f"root={root}")
    return " ".join(word for word in words if word)


@lru_cache(maxsize=4096)
def frame_of(call_text: str, remark: str = "") -> bytes:
    """`call_text` in exactly CALL_TEXT_BYTES bytes: a digest of it, which is what ranks compare, and as much as fits.

    The same bytes object for the same text, as long as it is in use. A `remark` is shown behind it, and not compared.
    """
    encoded = call_text.encode("utf-8", "backslashreplace")
    digest = hashlib.blake2b(encoded, digest_size=DIGEST_BYTES).digest()
    encoded += remark.encode(errors="replace")
    room = CALL_TEXT_BYTES - DIGEST_BYTES
    if len(encoded) > room:
        tail = f"… ({len(encoded)} bytes, digest {digest.hex()})".encode()
        encoded = encoded[: room - len(tail)] + tail
    return digest + encoded.ljust(room, b"\0")


def call_text_in(frame: bytes) -> str:
    """The call text of a frame, as far as it fitted."""
    return frame[DIGEST_BYTES:].rstrip(b"\0").decode(errors="replace") or "(no collective yet)"


def mismatch(group: str, call: int, frames: Sequence[bytes], world_ranks: Sequence[int]) -> CollectiveMismatchError:
    """The error that every rank raises: who called what, in one line, fewest ranks first.

    Args:
        group: the group's text.
        call: which of its collectives this is.
        frames: what each rank of the group has shown.
        world_ranks: the ranks of the job that those are.
    """
    ranks_of: dict[bytes, list[int]] = {}
    for rank, frame in zip(world_ranks, frames, strict=True):
        ranks_of.setdefault(bytes(frame), []).append(rank)
    sides = sorted(ranks_of.items(), key=lambda side: (len(side[1]), side[1]))
    said = [f"{rank_list(sorted(ranks))}: {call_text_in(frame)}" for frame, ranks in sides[:MAX_SIDES]]
    if len(sides) > MAX_SIDES:
        said.append(f"{len(sides) - MAX_SIDES} more differ")
    error = CollectiveMismatchError(
        f"group {group!r}, collective {call}: expected the same call on every rank, got {'; '.join(said)}\n"
        "make every rank of the group issue the same collectives in the same order, "
        "with the same shapes, dtype, reduce op and root"
    )
    error.sides = tuple(said)
    return error


def rank_list(ranks: Sequence[int]) -> str:
    """`rank 2`, or `ranks 0-3,5`."""
    return f"rank{'s' if len(ranks) > 1 else ''} {compact(ranks)}"


def compact(ranks: Sequence[int]) -> str:
    """Numbers in the given order, with runs of three and more as a range: `0-3,7`.

    >>> compact([0, 1, 2, 3, 7]), compact([0, 1]), compact([2, 0])
    ('0-3,7', '0,1', '2,0')
    """
    words: list[str] = []
    start = 0
    while start < len(ranks):
        stop = start + 1
        while stop < len(ranks) and ranks[stop] == ranks[stop - 1] + 1:
            stop += 1
        run = ranks[start:stop]
        words += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(rank) for rank in run]
        start = stop
    return ",".join(words)
