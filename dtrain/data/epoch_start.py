"""Loaders that share samples out over ranks tell of each epoch they begin; who compares ranks listens here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EpochStart:
    """An epoch that a loader begins."""

    epoch: int
    length: int  # of the dataset
    came_by_itself: bool  # by going through the one before, not by being told
    settings: str  # what must be alike on all ranks


Listener = Callable[[object, EpochStart], None]  # of the loader and what it begins

_listeners: list[Listener] = []


def add_epoch_listener(listener: Listener) -> None:
    """Call `listener` whenever a loader with `shard=True` begins an epoch on one of several ranks."""
    _listeners.append(listener)


def announce(loader: object, start: EpochStart) -> None:
    """Tell all listeners."""
    for listener in _listeners:
        listener(loader, start)
