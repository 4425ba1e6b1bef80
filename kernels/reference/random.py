"""Random numbers from a counter: Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as
1, 2, 3", 2011).

`state` is s64[2] = (key, offset): block number offset, offset + 1, … enciphered with the key gives four words of 32
bits each. A draw uses up whole blocks and gives the state behind them, so a stream does not depend on who draws, or
on which device. `out` is (values, new state), and the new state may be the state itself.
"""

from __future__ import annotations

from math import ceil
from typing import Any

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.precision import store
from dtrain.kernels.registry import reference

_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_CACHED_BLOCKS = 1 << 13


def philox(counter: tuple[Array, Array, Array, Array], key: tuple[int, int]) -> tuple[Array, Array, Array, Array]:
    """Four u64 arrays of 32-bit words, enciphered with two 32-bit key words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (second >> 32) ^ c1 ^ k0, second & _LOW, (first >> 32) ^ c3 ^ k1, first & _LOW
        k0, k1 = (k0 + _KEY_STEPS[0]) & _LOW, (k1 + _KEY_STEPS[1]) & _LOW
    return c0, c1, c2, c3


def _words(xp: Any, state: Array, new_state: Array, count: int) -> Array:
    """`count` words of 32 bits as u64, and the state behind them."""
    key, offset = int(state[0]) & (2**64 - 1), int(state[1])
    num_blocks = ceil(count / 4)
    new_state[0], new_state[1] = state[0], offset + num_blocks
    words = xp.empty((num_blocks, 4), "uint64")
    # On the CPU in pieces that stay in the cache through the ten rounds.
    piece = _CACHED_BLOCKS if xp.__name__ == "numpy" else max(num_blocks, 1)
    for start in range(0, num_blocks, piece):
        end = min(start + piece, num_blocks)
        blocks = xp.arange(offset + start, offset + end, dtype="uint64")
        zero = xp.zeros_like(blocks)
        lanes = philox((blocks & _LOW, blocks >> 32, zero, zero), (key & _LOW, key >> 32))
        for position, lane in enumerate(lanes):
            words[start:end, position] = lane
    return words.reshape(-1)[:count]


def _wide_words(xp: Any, state: Array, new_state: Array, count: int) -> Array:
    """`count` words of 64 bits."""
    words = _words(xp, state, new_state, 2 * count)
    return (words[0::2] << 32) | words[1::2]


def _bits(out: Array) -> int:
    """How many random bits a uniform number of this dtype has: those of its significand, so that none rounds to 1."""
    return {"float64": 53, "float32": 24, "float16": 11}.get(out.dtype.name, 8)


def _unit(xp: Any, state: Array, new_state: Array, out: Array) -> Array:
    """Uniform in [0, 1) in f64, with the bits that the dtype of `out` holds."""
    bits = _bits(out)
    if bits > 32:
        words = _wide_words(xp, state, new_state, out.size) >> (64 - bits)
    else:
        words = _words(xp, state, new_state, out.size) >> (32 - bits)
    return words.astype("float64") * 2.0**-bits


@reference("uniform", inputs="N", draws=True)
def uniform(state: Array, out: tuple[Array, Array], *, low: float, high: float, **facts: Any) -> None:
    """low + u · (high − low), u uniform in [0, 1)."""
    values, new_state = out
    unit = _unit(array_module(values), state, new_state, values)
    store(values, (low + unit * (high - low)).reshape(values.shape))


@reference("normal", inputs="N", draws=True)
def normal(state: Array, out: tuple[Array, Array], *, mean: float, std: float, **facts: Any) -> None:
    """mean + std · z, two z from two uniform numbers (Box, Muller 1958), computed in f64."""
    values, new_state = out
    xp = array_module(values)
    pairs = ceil(values.size / 2)
    if values.dtype.name == "float64":
        words, bits = _wide_words(xp, state, new_state, 2 * pairs) >> 11, 53
    else:
        words, bits = _words(xp, state, new_state, 2 * pairs), 32
    units = words.astype("float64") * 2.0**-bits
    # 1 − u lies in (0, 1], where the logarithm is finite.
    radius = xp.sqrt(-2 * xp.log1p(-units[0::2]))
    angle = 2 * xp.pi * units[1::2]
    deviates = xp.stack([radius * xp.cos(angle), radius * xp.sin(angle)], axis=1).reshape(-1)[: values.size]
    store(values, (mean + std * deviates).reshape(values.shape))


@reference("randint")
def randint(state: Array, out: tuple[Array, Array], *, low: int, high: int, **facts: Any) -> None:
    """Integers in [low, high): 64 random bits modulo the range, a bias of at most range / 2⁶⁴."""
    values, new_state = out
    words = _wide_words(array_module(values), state, new_state, values.size)
    values[...] = ((words % (high - low)).astype("int64") + low).astype(values.dtype).reshape(values.shape)


@reference("permutation")
def permutation(state: Array, out: tuple[Array, Array], **facts: Any) -> None:
    """0 … n − 1 in the order of n random 64-bit keys."""
    values, new_state = out
    xp = array_module(values)
    values[...] = xp.argsort(_wide_words(xp, state, new_state, values.size), kind="stable")


@reference("dropout_mask", inputs="N", draws=True)
def dropout_mask(state: Array, out: tuple[Array, Array], *, p: float, **facts: Any) -> None:
    """0 with probability p, else 1 / (1 − p); 32 random bits decide whatever the dtype."""
    values, new_state = out
    words = _words(array_module(values), state, new_state, values.size)
    keep = words >= round(p * 2**32)
    scale = 1 / (1 - p) if p < 1 else 0.0
    store(values, (keep * scale).reshape(values.shape))


@reference("bernoulli")
def bernoulli(state: Array, out: tuple[Array, Array], *, p: float, **facts: Any) -> None:
    """1 with probability p, else 0; 32 random bits decide whatever the dtype."""
    values, new_state = out
    words = _words(array_module(values), state, new_state, values.size)
    values[...] = (words < round(p * 2**32)).astype(values.dtype).reshape(values.shape)
