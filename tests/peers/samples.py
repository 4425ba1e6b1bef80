"""Which samples of a database are tried: some of each operator and dtype by a fixed seed, or all of them."""

from __future__ import annotations

import os
import random
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch

from peers.exchange import quietly

EVERYTHING = bool(os.environ.get("PEERS_EVERYTHING"))
SEED = int(os.environ.get("PEERS_SEED", "1"))
# How many of an operator's samples are tried, by dtype; reference inputs, many and large, are in f64 and s64.
OF_DTYPE = {torch.float64: 24, torch.float32: 12}
OF_OTHERS, OF_REFERENCE, TRACED = 5, 12, 2


def chosen(name: str, samples: Iterable[Any], count: int) -> list[Any]:
    """At most `count` samples, spread over all by a seed that depends on the name."""
    torch.manual_seed(SEED)
    found = list(quietly(list, samples))
    if EVERYTHING or len(found) <= count:
        return found
    generator = random.Random(zlib.crc32(name.encode()) + SEED)
    return [found[place] for place in sorted(generator.sample(range(len(found)), count))]


def operator_samples(info: Any, dtype: torch.dtype) -> Iterator[Any]:
    """Samples of an operator, with gradients where it has some, then of its reference inputs."""
    name = f"{info.name} {info.variant_test_name} {dtype}"
    gradient = info.supports_autograd and dtype.is_floating_point
    count = OF_DTYPE.get(dtype, OF_OTHERS)
    yield from chosen(name, quietly(info.sample_inputs, "cpu", dtype, requires_grad=gradient), count)
    if info.reference_inputs_func is not None and (EVERYTHING or dtype in (torch.float64, torch.int64)):
        mixed = info.name in ("where", "clamp")  # of several dtypes, which may not all require gradients
        references = quietly(info.reference_inputs, "cpu", dtype, requires_grad=gradient and not mixed)
        yield from chosen(name, references, OF_REFERENCE)
