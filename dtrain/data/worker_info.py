"""What a dataset may ask inside of a loader's worker process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A worker process of a loader.

    Attributes:
        id: 0 to num_workers − 1.
        num_workers: processes that the loader was asked for.
        seed: belongs to (seed, epoch, rank, worker); batches by number have streams of their own nevertheless.
        dataset: this process's copy of the dataset.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


_current: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Which worker process this is; None in the process that trains."""
    return _current


def enter_worker(info: WorkerInfo, worker_init_fn: Callable[[int], Any] | None) -> None:
    """Say which worker this process is from now on, and call `worker_init_fn` with its number."""
    global _current
    _current = info
    if worker_init_fn is not None:
        worker_init_fn(info.id)
