"""Samples of calls that ranks make together. The loop itself, `take_turns`, is on the ground floor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any

import numpy as np

from dtrain.base.turns import Contestant, Samples
from dtrain.collectives.communicator.contract import Communicator


def together(world: Communicator | None, call: Callable[[], Any]) -> Contestant:
    """A sample of one call that all ranks begin together; None for a call that needs no other rank."""

    def sample() -> float:
        if world is not None:
            world.barrier()
        begin = perf_counter()
        call()
        return perf_counter() - begin

    return sample


def slowest(world: Communicator, samples: Mapping[str, Samples]) -> dict[str, Samples]:
    """Of each turn the time of the slowest rank, which is how long it took all of them (collective)."""
    mine = np.array([samples[name].seconds for name in samples])
    return {name: Samples(tuple(row)) for name, row in zip(samples, world.all_reduce(mine, op="max").tolist())}
