"""Random worlds and the programs that run in them: everything follows from a seed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from dtrain.base import dtype as dtypes
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.programs.network import Line, Network

KINDS = ("all_reduce", "all_reduce_many", "reduce_scatter", "all_gather", "broadcast", "all_to_all")
STAGING = 4096  # bytes, so that larger messages have several chunks
MAX_SIZE = 16


@dataclass(frozen=True)
class RandomWorld:
    """What a seed stands for.

    Attributes:
        network: up to 16 ranks on hosts of any shape, with links and delays of any speed.
        begins: seconds that each rank computes before the first call.
    """

    seed: int
    network: Network
    begins: tuple[float, ...]

    @property
    def size(self) -> int:
        return len(self.network.hosts)


def random_world(seed: int) -> RandomWorld:
    draw = np.random.default_rng(seed)
    size = int(draw.integers(1, MAX_SIZE + 1))
    hosts = np.sort(draw.integers(0, draw.integers(1, size + 1), size))
    if draw.random() < 0.3:
        draw.shuffle(hosts)
    within, between = (
        Line(alpha=10.0 ** draw.uniform(*alpha), beta=10.0 ** draw.uniform(-11, -8)) for alpha in ((-7, -5), (-6, -3))
    )
    delays = tuple(draw.exponential(1e-4, size)) if draw.random() < 0.5 else ()
    network = Network(hosts=tuple(map(int, hosts)), within=within, between=between, delays=delays)
    return RandomWorld(seed, network, tuple(draw.exponential(1e-3, size)))


def run_random_program(comm: Communicator, seed: int) -> str:
    """A few collectives of all kinds, dtypes and sizes; the digest of all that this rank has got."""
    draw, digest = np.random.default_rng([seed, 1]), hashlib.blake2b(digest_size=16)
    for number in range(4):
        kind, dtype = KINDS[draw.integers(len(KINDS))], dtypes.ALL[draw.integers(len(dtypes.ALL))]
        count = int(2 ** draw.uniform(0, 10))
        if kind in ("reduce_scatter", "all_to_all"):
            count = (count // comm.size + 1) * comm.size
        op = str(
            draw.choice(["sum", "mean", "min", "max", "prod"] if dtype.is_floating else ["sum", "min", "max", "prod"])
        )
        weighs, is_async, root = draw.random() < 0.5, draw.random() < 0.3, int(draw.integers(MAX_SIZE)) % comm.size
        own = np.random.default_rng([seed, number, comm.rank])
        array = _array(own, count, dtype)
        options: dict[str, object] = {}
        if kind in ("all_reduce", "all_reduce_many", "reduce_scatter"):
            options["op"] = op
        if weighs and dtype.is_floating and op in ("sum", "mean") and kind != "reduce_scatter":
            options["weight"] = float(own.integers(0, 4)) if "op" in options else None
        if kind == "broadcast":
            options["root"] = root
        options = {name: value for name, value in options.items() if value is not None}
        given = [array, array[: count // 3 + 1].copy()] if kind == "all_reduce_many" else array
        if is_async:
            result = getattr(comm, f"{kind}_async")(given, **options).wait()
        else:
            result = getattr(comm, kind)(given, **options)
        for part in result if isinstance(result, list) else [result]:
            digest.update(part.tobytes())
    return digest.hexdigest()


def _array(own: np.random.Generator, count: int, dtype: dtypes.DType) -> np.ndarray:
    if dtype.is_floating:
        return own.normal(size=count).astype(dtype.numpy)
    if dtype is dtypes.bool_:
        return own.integers(0, 2, count).astype(np.bool_)
    limits = np.iinfo(dtype.numpy)
    return own.integers(limits.min, limits.max, count, dtype=dtype.numpy, endpoint=True)
