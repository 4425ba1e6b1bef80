"""Python's, NumPy's and dtrain's global random numbers together: put to one place of a run, or kept as they are."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from dtrain.core.random import Generator, default_generator


def seed_global_streams(key: Sequence[int]) -> None:
    """Let this thread's global generators begin a stream that belongs to `key`, integers below 2⁶⁴ in size."""
    # Two words each: a sequence of shorter ones could stand for several keys.
    halves = [half for number in key for half in divmod(number % 2**64, 2**32)]
    words = np.random.SeedSequence(halves).generate_state(6)
    np.random.seed(words[:4])
    random.seed(words[:4].tobytes())
    # Not through an op: the fork may have happened inside of anything.
    default_generator().state.array[...] = Generator(int(words[4]) << 32 | int(words[5])).state.array


@contextmanager
def kept_global_streams() -> Iterator[None]:
    """Draws inside of the block do not count."""
    python, numpy, own = random.getstate(), np.random.get_state(), default_generator().state.array.copy()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        default_generator().state.array[...] = own
