"""Random numbers: a `Generator` holds the state of one stream in a tensor, so that draws also work inside a trace.

Every thread has a default generator, which starts from seed 0. `seed(n)` gives rank 0 the stream of n, as a single
process has it, and every other rank one of its own; all are reproducible.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from dtrain.base.cuda import placement
from dtrain.base.device import CPU, Device, DeviceLike
from dtrain.base.dtype import DType, DTypeLike, as_dtype, bool_, expect_held, float32, int64
from dtrain.base.errors import expected
from dtrain.base.rank_info import RankInfo
from dtrain.core.apply import cast, update
from dtrain.core.inplace import assign_
from dtrain.core.tensor import Tensor, wrap
from dtrain.core.tensor_factory import ShapeLike, as_shape
from dtrain.graph.op import get_op


class Generator:
    """One stream of random numbers.

    `state` is s64[2]: the key, which names the stream, and the offset, how many blocks of four words were drawn.
    Equal states give equal numbers on every device, eagerly and traced.
    """

    def __init__(self, seed: int = 0) -> None:
        self.state = wrap(np.zeros(2, np.int64))
        self.state.name = "generator"
        self.seed(seed)

    @staticmethod
    def of_rank(seed: int, rank: int) -> Generator:
        """Rank 0 has the stream of `seed` itself, as a single process, every other rank one derived from it."""
        generator = Generator(seed)
        return generator if rank == 0 else generator.fold_in(rank)

    def seed(self, seed: int) -> None:
        """Go to the beginning of the stream of this seed, an integer of any sign below 2⁶⁴ in size."""
        assign_(self.state, wrap(np.array([_signed(seed), 0], np.int64)))

    def manual_seed(self, seed: int) -> Generator:
        """`seed` under PyTorch's name. Returns self."""
        self.seed(seed)
        return self

    def initial_seed(self) -> int:
        """The seed that the stream belongs to, below 2⁶⁴, however far it has been drawn from."""
        return int(self.state.numpy()[0]) & _ALL_BITS

    def __repr__(self) -> str:
        key, offset = self.state.numpy().tolist()
        return f"Generator(key={key}, offset={offset})"

    def fold_in(self, number: int) -> Generator:
        """A new generator at the beginning of a stream that belongs to this one's key and `number` (a rank, say)."""
        from dtrain.kernels.reference.random import philox

        key, low = int(self.state.numpy()[0]) & _ALL_BITS, 0xFFFFFFFF
        words = [np.array([word], np.uint64) for word in (number & low, (number >> 32) & low, 0, 1)]
        first, second, _, _ = philox((words[0], words[1], words[2], words[3]), (key & low, key >> 32))
        return Generator((int(first[0]) << 32) | int(second[0]))

    def state_dict(self) -> dict[str, int]:
        """Where the stream stands, for a checkpoint."""
        key, offset = self.state.numpy().tolist()
        return {"key": key, "offset": offset}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from where `state_dict` was taken."""
        if set(state) != {"key", "offset"}:
            raise ValueError(expected("Generator.load_state_dict", "key and offset", ", ".join(map(str, state))))
        assign_(self.state, wrap(np.array([state["key"], state["offset"]], np.int64)))

    # Draws ----------------------------------------------------------------------------------------------------------

    def uniform(
        self,
        shape: ShapeLike = (),
        low: float = 0.0,
        high: float = 1.0,
        *,
        dtype: DTypeLike = float32,
        device: DeviceLike = CPU,
    ) -> Tensor:
        """Evenly spread over [low, high)."""
        return self._draw("uniform", shape, dtype, device, low=float(low), high=float(high))

    def normal(
        self,
        shape: ShapeLike = (),
        mean: float = 0.0,
        std: float = 1.0,
        *,
        dtype: DTypeLike = float32,
        device: DeviceLike = CPU,
    ) -> Tensor:
        """Normally distributed."""
        return self._draw("normal", shape, dtype, device, mean=float(mean), std=float(std))

    def randint(
        self,
        low: int,
        high: int | None = None,
        shape: ShapeLike = (),
        *,
        dtype: DTypeLike = int64,
        device: DeviceLike = CPU,
    ) -> Tensor:
        """Integers in [low, high), or in [0, low) where only one number is given."""
        if high is None:
            low, high = 0, low
        wanted = as_dtype(dtype)
        low, high = int(low), int(high)
        _expect_in_range(wanted, low, high)
        drawn = int64 if wanted.is_floating or wanted is bool_ else wanted
        numbers = self._draw("randint", shape, drawn, device, low=low, high=high)
        return numbers if drawn is wanted else cast(numbers, wanted)

    def permutation(self, n: int, *, device: DeviceLike = CPU) -> Tensor:
        """0 … n − 1 in random order, s64[n]."""
        return self._draw("permutation", n, int64, device)

    def bernoulli(
        self, shape: ShapeLike = (), p: float = 0.5, *, dtype: DTypeLike = bool_, device: DeviceLike = CPU
    ) -> Tensor:
        """1 (or True) with probability p, else 0."""
        return self._draw("bernoulli", shape, dtype, device, p=float(p))

    def dropout_mask(self, shape: ShapeLike, p: float, *, dtype: DTypeLike, device: DeviceLike) -> Tensor:
        """0 with probability p, else 1 / (1 − p)."""
        return self._draw("dropout_mask", shape, dtype, device, p=float(p))

    def _draw(self, op: str, shape: ShapeLike, dtype: DTypeLike, device: DeviceLike, **attrs: Any) -> Tensor:
        sizes, wanted, place = as_shape(shape, op), as_dtype(dtype), placement(device)
        return _values(self.state, op, sizes, wanted, place, attrs)


def _values(
    state: Tensor, op: str, shape: tuple[int, ...], dtype: DType, device: Device, attrs: dict[str, Any]
) -> Tensor:
    return update(get_op(op), state, shape=shape, dtype=dtype, device=device, **attrs)[0]


_ALL_BITS = 2**64 - 1


def _expect_in_range(dtype: DType, low: int, high: int) -> None:
    last = max(low, high - 1)
    if dtype is bool_ and not (low >= 0 and last <= 1):
        raise ValueError(expected("randint", "numbers 0 and 1 for dtype bool", f"low {low}, high {high}"))
    expect_held("randint", dtype, low, last)


def _signed(number: int) -> int:
    """The s64 with the same 64 bits."""
    if not -(2**63) <= number < 2**64:
        raise ValueError(expected("seed", "an integer in [-2⁶³, 2⁶⁴)", str(number)))
    bits = number & _ALL_BITS
    return bits - 2**64 if bits >= 2**63 else bits


# The default generator ------------------------------------------------------------------------------------------------


class _Defaults(threading.local):
    def __init__(self) -> None:
        self.generator = Generator.of_rank(0, RankInfo.from_environment().rank)


_defaults = _Defaults()


def default_generator() -> Generator:
    """The generator that this thread's draws use where none is given."""
    return _defaults.generator


def seed(number: int, *, rank: int | None = None) -> None:
    """Put this thread's default generator at the beginning of the stream of `number` and this rank.

    Args:
        rank: instead of the process's own rank; 0 gives every rank the same numbers.
    """
    fresh = Generator.of_rank(number, RankInfo.from_environment().rank if rank is None else rank)
    default_generator().state.assign_(fresh.state)


def uniform(
    shape: ShapeLike = (),
    low: float = 0.0,
    high: float = 1.0,
    *,
    dtype: DTypeLike = float32,
    device: DeviceLike = CPU,
    generator: Generator | None = None,
) -> Tensor:
    """Numbers evenly spread over [low, high)."""
    return (generator or default_generator()).uniform(shape, low, high, dtype=dtype, device=device)


def normal(
    shape: ShapeLike = (),
    mean: float = 0.0,
    std: float = 1.0,
    *,
    dtype: DTypeLike = float32,
    device: DeviceLike = CPU,
    generator: Generator | None = None,
) -> Tensor:
    """Normally distributed numbers."""
    return (generator or default_generator()).normal(shape, mean, std, dtype=dtype, device=device)


def randint(
    low: int,
    high: int | ShapeLike | None = None,
    shape: ShapeLike = (),
    *,
    dtype: DTypeLike = int64,
    device: DeviceLike = CPU,
    generator: Generator | None = None,
) -> Tensor:
    """Integers in [low, high), or in [0, low) where only one number is given, also `randint(low, shape)`."""
    if isinstance(high, tuple | list):
        low, high, shape = 0, low, high
    return (generator or default_generator()).randint(low, high, shape, dtype=dtype, device=device)


def permutation(n: int, *, device: DeviceLike = CPU, generator: Generator | None = None) -> Tensor:
    """0 … n − 1 in random order, s64[n]."""
    return (generator or default_generator()).permutation(n, device=device)


def bernoulli(
    shape: ShapeLike = (),
    p: float = 0.5,
    *,
    dtype: DTypeLike = bool_,
    device: DeviceLike = CPU,
    generator: Generator | None = None,
) -> Tensor:
    """1 (or True) with probability p, else 0."""
    return (generator or default_generator()).bernoulli(shape, p, dtype=dtype, device=device)
