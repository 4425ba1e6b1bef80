"""Words for a call that cannot be carried out because other ranks do not take part: who, why, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dtrain.base.errors import CollectiveError, PeerLostError
from dtrain.collectives.memory.shared_window import State

Names = Callable[[Sequence[int]], str]
Gone = Mapping[int, tuple[State, str]]

MAX_NAMED = 8


def gone_error(call: str, gone: Gone, names: Names) -> PeerLostError:
    """Some ranks will never come.

    Args:
        call: which call of which rank cannot go on.
        gone: ranks of the group, each with its state and words such as "has ended its script".
        names: words ranks of the group as ranks of the job.
    """
    cause = _cause(gone, names)
    error = PeerLostError(f"{call}: expected every rank of the group, but {cause}")
    error.cause = cause
    return error


def _cause(gone: Gone, names: Names) -> str:
    by_words: dict[tuple[State, str], list[int]] = {}
    for rank, why in sorted(gone.items()):
        by_words.setdefault(why, []).append(rank)
    first = [(state, text, ranks) for (state, text), ranks in by_words.items() if state is not State.FOLLOWED]
    if not first:
        return next(iter(by_words))[1]
    # A call that broke off is the cause, and who left is what came of it.
    first.sort(key=lambda side: (side[0] is not State.BROKEN, side[2]))
    said = "; ".join(f"{names(ranks)} {text}" for _, text, ranks in first[:MAX_NAMED])
    if first[0][0] is State.BROKEN:
        return f"{said}; this communicator is broken on every rank from now on"
    return f"{said}; was this call made by some ranks only?"


def late_error(
    call: str, late: Sequence[int], last_calls: Mapping[int, str], timeout: float, names: Names
) -> CollectiveError:
    """Some ranks have not come in time.

    Args:
        late: ranks of the group; none where they are not known.
        last_calls: what those were last in, where that is known.
    """
    by_text: dict[str, list[int]] = {}
    for rank in late:
        if rank in last_calls:
            by_text.setdefault(last_calls[rank], []).append(rank)
    last = "".join(
        f"{names(ranks)} {'was' if len(ranks) == 1 else 'were'} last in {text}; "
        for text, ranks in list(by_text.items())[:MAX_NAMED]
    )
    nothing = f"nothing from {names(late)}" if late else "not all of them"
    return CollectiveError(
        f"{call}: expected every rank within {timeout:g} s, got {nothing}; {last}look at what "
        "those ranks are doing, or raise DTRAIN_COLLECTIVE_TIMEOUT"
    )
