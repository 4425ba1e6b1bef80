"""Random worlds and the programs that run in them: everything follows from a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dtrain.base import dtype as dtypes
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.programs.network import Line, Network

KINDS = ("all_reduce", "all_reduce_many", "reduce_scatter", "all_gather", "broadcast", "all_to_all", "around")
STAGING = 4096  # bytes, so that larger messages have several chunks
MAX_SIZE = 16
NUM_CALLS = 4


@dataclass(frozen=True)
class RandomWorld:
    """What a seed stands for.

    Attributes:
        network: up to 16 ranks on hosts of any shape, with links and delays of any speed.
        pauses: seconds that each rank computes before each call, by rank.
    """

    seed: int
    network: Network
    pauses: tuple[tuple[float, ...], ...]

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
    seconds = draw.exponential(10.0 ** draw.uniform(-5, -2.5), (size, NUM_CALLS))
    return RandomWorld(seed, network, tuple(map(tuple, seconds)))


def run_random_program(comm: Communicator, world: RandomWorld, compute: Callable[[float], object]) -> str:
    """A few collectives and messages of all kinds, dtypes and sizes; the digest of all that this rank has got.

    Often one of them is made by groups of some of the ranks.

    Args:
        compute: lets this rank's time go on, by seconds.
    """
    draw, digest = np.random.default_rng([world.seed, 1]), hashlib.blake2b(digest_size=16)
    in_groups = int(draw.integers(2 * NUM_CALLS))
    colors = draw.integers(0, draw.integers(1, 4, endpoint=True), MAX_SIZE)
    for number in range(NUM_CALLS):
        compute(world.pauses[comm.rank][number])
        group = comm.split(int(colors[comm.rank])) if number == in_groups else comm
        assert group is not None
        for part in _random_call(group, draw, np.random.default_rng([world.seed, number, comm.rank])):
            digest.update(part.tobytes())
    return digest.hexdigest()


def _random_call(comm: Communicator, draw: np.random.Generator, own: np.random.Generator) -> list[np.ndarray]:
    """One call, drawn alike on all ranks; `own` draws what this rank puts in."""
    kind, dtype = KINDS[draw.integers(len(KINDS))], dtypes.ALL[draw.integers(len(dtypes.ALL))]
    count = int(2 ** draw.uniform(0, 10))
    op = str(draw.choice(["sum", "mean", "min", "max", "prod"] if dtype.is_floating else ["sum", "min", "max", "prod"]))
    weighs, is_async, root = draw.random() < 0.5, draw.random() < 0.3, int(draw.integers(MAX_SIZE)) % comm.size
    if kind in ("reduce_scatter", "all_to_all"):
        count = (count // comm.size + 1) * comm.size
    array = _array(own, count, dtype)
    if kind == "around":
        received = comm.recv_async(source=(comm.rank - 1) % comm.size)
        comm.send(array, destination=(comm.rank + 1) % comm.size)
        return [received.wait()]
    options: dict[str, object] = {}
    if kind in ("all_reduce", "all_reduce_many", "reduce_scatter"):
        options["op"] = op
    if weighs and dtype.is_floating and op in ("sum", "mean") and kind in ("all_reduce", "all_reduce_many"):
        options["weight"] = float(own.integers(0, 4))
    if kind == "broadcast":
        options["root"] = root
    given = [array, array[: count // 3 + 1].copy()] if kind == "all_reduce_many" else array
    if is_async:
        result = getattr(comm, f"{kind}_async")(given, **options).wait()
    else:
        result = getattr(comm, kind)(given, **options)
    return result if isinstance(result, list) else [result]


def _array(own: np.random.Generator, count: int, dtype: dtypes.DType) -> np.ndarray:
    if dtype.is_floating:
        return own.normal(size=count).astype(dtype.numpy)
    if dtype is dtypes.bool_:
        return own.integers(0, 2, count).astype(np.bool_)
    limits = np.iinfo(dtype.numpy)
    return own.integers(limits.min, limits.max, count, dtype=dtype.numpy, endpoint=True)
