"""A program on ranks that are threads of this process, each with the world around it and numbers of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dtrain import collectives as dist


def on_ranks(size: int, program: Callable[[int, int], Any]) -> list[Any]:
    """`program(rank, size)` on each rank; the results in rank order."""

    def run(communicator: Any) -> Any:
        with dist.using(communicator):
            return program(communicator.rank, communicator.size)

    return dist.run_threads(size, run)


def draw(rank: int, *shape: int) -> np.ndarray:
    """f64 numbers of a rank."""
    return np.random.default_rng(100 + rank).standard_normal(shape)
