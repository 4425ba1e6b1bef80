"""The table of checks that every communicator has to pass, and what checks are made of.

Ranks hold different data, made from the rank, so that each can work out by itself what all of them must get;
reductions are compared bit by bit with a naive oracle.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from dtrain.base import dtype as dtypes
from dtrain.collectives.communicator.contract import Communicator

Check = Callable[[Communicator], None]
CHECKS: dict[str, Check] = {}

SIZES = (0, 1, 3, 7, 8, 17, 1000)
LARGE = 100003
COMBINE = {"sum": np.add, "mean": np.add, "min": np.minimum, "max": np.maximum, "prod": np.multiply}


def check(function: Check) -> Check:
    CHECKS[function.__name__] = function
    return function


def data_of(rank: int, shape: tuple[int, ...] | int, dtype: dtypes.DType = dtypes.float32, salt: int = 0) -> np.ndarray:
    """What `rank` puts in: random, and different on every rank."""
    generator = np.random.default_rng([rank, salt, zlib.crc32(dtype.tag.encode())])
    if dtype.is_floating:
        return generator.normal(size=shape).astype(dtype.numpy)
    if dtype is dtypes.bool_:
        return generator.integers(0, 2, shape).astype(np.bool_)
    limits = np.iinfo(dtype.numpy)
    return generator.integers(limits.min, limits.max, shape, dtype=dtype.numpy, endpoint=True)


def oracle(parts: list[np.ndarray], op: str) -> np.ndarray:
    """The rule of summation, written as plainly as possible."""
    dtype = parts[0].dtype
    wide = np.dtype(np.float32) if dtypes.from_numpy(dtype) in (dtypes.float16, dtypes.bfloat16) else dtype
    with np.errstate(all="ignore"):
        total = parts[0].astype(wide)
        for part in parts[1:]:
            total = COMBINE[op](total, part.astype(wide))
        return (total / wide.type(len(parts)) if op == "mean" else total).astype(dtype)


def weighted_oracle(
    parts: list[np.ndarray], weights: list[float], op: str, counts: list[float] | None = None
) -> np.ndarray:
    """Σ c·x in rank order, each product rounded, without the parts whose coefficient is 0."""
    dtype, total = parts[0].dtype, sum(weights if counts is None else counts)
    wide = np.dtype(np.float32) if dtypes.from_numpy(dtype) in (dtypes.float16, dtypes.bfloat16) else dtype
    shares = [1 / len(parts) if total == 0 else weight / total for weight in weights] if op == "mean" else weights
    terms = [wide.type(share) * part.astype(wide) for share, part in zip(shares, parts, strict=True) if share]
    if not terms:
        return np.zeros_like(parts[0])
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result.astype(dtype)


def reduced(comm: Communicator, shape: tuple[int, ...] | int, dtype=dtypes.float32, op="sum", salt=0) -> np.ndarray:
    return oracle([data_of(rank, shape, dtype, salt) for rank in range(comm.size)], op)


def assert_bits(given: np.ndarray, wanted: np.ndarray, what: str = "") -> None:
    assert given.dtype == wanted.dtype and given.shape == wanted.shape, (what, given.dtype, given.shape, wanted.shape)
    assert given.tobytes() == wanted.tobytes(), what
