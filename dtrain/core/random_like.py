"""Random tensors under PyTorch's names, where the shape is given as sizes: `randn(2, 3)`."""

from __future__ import annotations

from typing import Any

from dtrain.base.device import CPU, DeviceLike
from dtrain.base.dtype import DTypeLike, float32
from dtrain.base.spelling import spelled
from dtrain.core.random import Generator, default_generator, normal, randint, seed, uniform
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_factory import shape_of


def rand(
    *shape: Any,
    dtype: DTypeLike | None = None,
    device: DeviceLike = CPU,
    generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers evenly spread over [0, 1): `rand(2, 3)` or `rand((2, 3))`; f32 unless a dtype is given."""
    drawn = uniform(shape_of("rand", shape), dtype=dtype or float32, device=device, generator=generator)
    return drawn.requires_grad_() if requires_grad else drawn


def randn(
    *shape: Any,
    dtype: DTypeLike | None = None,
    device: DeviceLike = CPU,
    generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Numbers of mean 0 and variance 1: `randn(2, 3)` or `randn((2, 3))`; f32 unless a dtype is given."""
    drawn = normal(shape_of("randn", shape), dtype=dtype or float32, device=device, generator=generator)
    return drawn.requires_grad_() if requires_grad else drawn


@spelled
def rand_like(
    x: Tensor, *, dtype: DTypeLike | None = None, device: DeviceLike | None = None, requires_grad: bool = False
) -> Tensor:
    """`rand` with the shape of x, and its dtype and device unless others are given."""
    device = x.device if device is None else device
    return rand(x.shape, dtype=dtype or x.dtype, device=device, requires_grad=requires_grad)


@spelled
def randn_like(
    x: Tensor, *, dtype: DTypeLike | None = None, device: DeviceLike | None = None, requires_grad: bool = False
) -> Tensor:
    """`randn` with the shape of x, and its dtype and device unless others are given."""
    device = x.device if device is None else device
    return randn(x.shape, dtype=dtype or x.dtype, device=device, requires_grad=requires_grad)


@spelled
def randint_like(
    x: Tensor,
    low: int,
    high: int | None = None,
    *,
    dtype: DTypeLike | None = None,
    device: DeviceLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`randint` in [low, high), or [0, low), with the shape of x, and its dtype and device unless others are given."""
    place = x.device if device is None else device
    drawn = randint(low, high, x.shape, dtype=dtype or x.dtype, device=place)
    return drawn.requires_grad_() if requires_grad else drawn


def initial_seed() -> int:
    """The seed that this thread's default generator was given, below 2⁶⁴; on ranks after 0 the one derived from it."""
    return default_generator().initial_seed()


def manual_seed(number: int) -> Generator:
    """Seed this thread's default generator with the same numbers on every rank, as PyTorch does.

    `seed` gives each rank numbers of its own, which is what dropout and augmentation want.
    """
    seed(number, rank=0)
    return default_generator()


def get_rng_state() -> dict[str, int]:
    """Where this thread's default generator stands: goes into a checkpoint, and back by `set_rng_state`."""
    return default_generator().state_dict()


def set_rng_state(new_state: dict[str, int]) -> None:
    """Let this thread's default generator go on from where `get_rng_state` was taken."""
    default_generator().load_state_dict(new_state)
