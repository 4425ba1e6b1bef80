"""Where a loader stands, as its state says it: an epoch, and a number of samples counted over all ranks.

Samples, because a place in the common order means the same for every batch size and number of ranks, as long as the
order itself is the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

from dtrain.base.errors import expected

_WHERE = "DataLoader.load_state_dict"


def read_position(state: Mapping[str, Any], order: Mapping[str, Any], samples_together: int) -> tuple[int, int]:
    """(epoch, samples handed out) of a state, for a loader whose order depends on the settings `order`.

    Args:
        samples_together: samples in one batch of all ranks, for states that count batches.

    Raises:
        ValueError: something is missing or no count, or the place is in the middle of another order.
    """
    if not isinstance(state, Mapping):
        raise ValueError(expected(_WHERE, "what state_dict() returned", type(state).__name__))
    epoch = checked_count("epoch", state.get("epoch"))
    if "num_samples" not in state and "num_batches" in state:
        done = _samples_of_batches(checked_count("num_batches", state["num_batches"]), samples_together)
        return epoch, min(done, order.get("length", done))
    done = checked_count("num_samples", state.get("num_samples"))
    if done:
        _check_order(state, order)
    return epoch, done


def _check_order(state: Mapping[str, Any], order: Mapping[str, Any]) -> None:
    # Without shuffling the seed decides nothing.
    names = [name for name in order if name != "seed" or order.get("shuffle", True)]
    if any(state.get(name) != order[name] for name in names):
        wanted = ", ".join(f"{name} {order[name]}" for name in names)
        given = ", ".join(f"{name} {state.get(name)}" for name in names)
        advice = "its place in the epoch is none in this loader: make the loader as it was, or set loader.epoch"
        raise ValueError(expected(_WHERE, f"a state of {wanted}", given, advice))
    if state["num_samples"] > order.get("length", state["num_samples"]):
        raise ValueError(expected(_WHERE, f"at most {order['length']} samples done", str(state["num_samples"])))


def _samples_of_batches(num_batches: int, samples_together: int) -> int:
    if num_batches:
        warnings.warn(
            f"{_WHERE}: the state counts batches ({num_batches}), as the first version of dtrain did; taken as batches "
            f"of {samples_together} samples over all ranks, which holds if batch size and ranks are what they were",
            stacklevel=4,
        )
    return num_batches * samples_together


def expect_left_out(beside: str, given: Mapping[str, bool]) -> None:
    """Raise ValueError for words that are given and have no meaning beside another, which says it by itself."""
    found = [word for word, is_given in given.items() if is_given]
    if found:
        *words, last = given
        wanted = f"{', '.join(words)} and {last} left out beside {beside}"
        raise ValueError(expected("DataLoader", wanted, " and ".join(found)))


def checked_count(name: str, value: Any, least: int = 0, where: str = "DataLoader") -> int:
    """`value` as an int of at least `least`, below 2⁶³. Raises ValueError."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or not least <= value.__index__() < 2**63:
        raise ValueError(expected(where, f"{name} of at least {least}", repr(value)))
    return int(value)
