"""Small programs that change state in every way we know: traced, each gives the bits of its eager run."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F

NUM_STEPS = 5


class World:
    """Parameters, buffers and an optimizer for one run of a program."""

    def __init__(self) -> None:
        random = np.random.default_rng(5)
        self.w = dt.Parameter(random.normal(size=(3, 4)).astype(np.float32), name="w")
        self.v = dt.Parameter(random.normal(size=(4, 3)).astype(np.float32), name="v")
        self.average = dt.tensor(np.zeros((3, 4), np.float32))
        self.count = dt.tensor(0)
        self.optimizer = dt.optim.SGD([self.w, self.v], lr=0.05, momentum=0.9)

    def tensors(self) -> list[dt.Tensor]:
        return [self.w, self.v, self.average, self.count]


Program = Callable[[World, dt.Tensor], object]


def two_passes(world: World, x: dt.Tensor) -> object:
    world.optimizer.zero_grad()
    for scale in (1.0, 2.0):
        ((x @ world.w) * scale).square().sum().backward()
    world.optimizer.step()
    return world.w.grad


def accumulate_then_update(world: World, x: dt.Tensor) -> object:
    (x @ world.w @ world.v).sum().backward()
    world.count.assign_(world.count + 1)
    return world.w.grad * 2


def gradient_penalty(world: World, x: dt.Tensor) -> object:
    world.optimizer.zero_grad()
    y = F.tanh(x @ world.w).sum()
    (slope,) = dt.grad(y, world.w, create_graph=True)
    (y + (slope * slope).sum()).backward()
    world.optimizer.step()
    return slope


def clip(world: World, x: dt.Tensor) -> object:
    world.optimizer.zero_grad()
    (x @ world.w @ world.v).square().sum().backward()
    norm = dt.optim.clip_grad_norm_([world.w, world.v], 0.5)
    world.optimizer.step()
    return norm


def moving_average(world: World, x: dt.Tensor) -> object:
    world.optimizer.zero_grad()
    loss = (x @ world.w).square().mean()
    loss.backward()
    world.optimizer.step()
    with dt.no_grad():
        world.average.assign_(world.average * 0.9 + world.w * 0.1)
    return loss, world.average, world.w.reshape(-1)


def tied_weights(world: World, x: dt.Tensor) -> object:
    world.optimizer.zero_grad()
    loss = (x @ world.w @ world.w.transpose(1, 0) @ world.w).square().mean()
    loss.backward()
    world.optimizer.step()
    return loss


def swap(world: World, x: dt.Tensor) -> object:
    with dt.no_grad():
        before = dt.tensor(world.w)
        world.w.assign_(world.v.transpose(1, 0) + x.sum())
        world.v.assign_(before.transpose(1, 0))
    return world.w, world.v


def chain_of_updates(world: World, x: dt.Tensor) -> object:
    with dt.no_grad():
        results = []
        for _ in range(3):
            world.average.assign_(world.average + x.sum())
            results.append(world.average * 2)
            world.w.assign_(world.average)
        world.average.assign_(world.w - 1)
    return results


def hooked(world: World, x: dt.Tensor) -> object:
    world.optimizer.zero_grad()
    inner = x @ world.w
    inner.register_grad_hook(lambda g: g * 3)
    (inner * inner).sum().backward()
    world.optimizer.step()
    return inner.detach()


def partly_used(world: World, x: dt.Tensor) -> object:
    """v gets no gradient; the optimizer leaves it alone."""
    world.optimizer.zero_grad()
    (x @ world.w).sum().backward()
    world.optimizer.step()
    return world.v


def keep_old_values(world: World, x: dt.Tensor) -> object:
    with dt.no_grad():
        first = world.average + 0
        world.average.assign_(world.average + x.mean())
        second = world.average + 0
        world.average.assign_(first * 0.5 + second)
    return first, second, world.average


def random_numbers(world: World, x: dt.Tensor) -> object:
    world.optimizer.zero_grad()
    hidden = F.dropout(x @ world.w, 0.5)
    hidden.sum().backward()
    world.optimizer.step()
    return hidden, F.dropout(x, 0.5)


def indexing(world: World, x: dt.Tensor) -> object:
    world.optimizer.zero_grad()
    rows = world.w[1:, ::2]
    picked = world.v[dt.tensor([0, 2, 0])]
    (rows.sum() * picked).sum().backward()
    world.optimizer.step()
    return picked


PROGRAMS: list[Program] = [
    two_passes, accumulate_then_update, gradient_penalty, clip, moving_average, tied_weights, swap, chain_of_updates,
    hooked, partly_used, keep_old_values, random_numbers, indexing,
]  # fmt: skip


def bits(value: object) -> object:
    if isinstance(value, dt.Tensor):
        return (str(value.type), value.numpy().tobytes())
    if isinstance(value, tuple | list):
        return [bits(item) for item in value]
    return value


def run(program: Program, traced: bool) -> tuple[list[object], object, int]:
    """Results of every step, the world at the end, and how often the program was captured."""
    dt.core.random.seed(11)
    world = World()

    def step(x: dt.Tensor) -> object:
        return program(world, x)

    function = dt.trace(step) if traced else step
    results = []
    for number in range(NUM_STEPS):
        x = dt.tensor(np.random.default_rng(number).normal(size=(2, 3)).astype(np.float32))
        results.append(bits(function(x)))
    gradients = [bits(p.grad) for p in (world.w, world.v)]
    return results, [bits(world.tensors()), gradients], len(function.graphs) if traced else 0


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.__name__)
def test_every_program(program: Program) -> None:
    eager, traced = run(program, traced=False), run(program, traced=True)
    assert traced[0] == eager[0]
    assert traced[1] == eager[1]
    # Only accumulation meets two situations: no gradient at first, and one afterwards.
    assert traced[2] == (2 if program is accumulate_then_update else 1)


def test_programs_change_something() -> None:
    """A program without effect would prove nothing."""
    start = bits(World().tensors())
    for program in PROGRAMS:
        _, (end, gradients), _ = run(program, traced=False)
        assert end != start or gradients != [None, None], program.__name__


REDUCTIONS: dict[str, Callable[[dt.Tensor], dt.Tensor]] = {
    "sum": lambda x: x.sum((2, 3)),
    "sum of all": lambda x: x.sum(),
    "mean": lambda x: x.mean((2, 3)),
    "var": lambda x: x.var((2, 3)),
    "prod": lambda x: x.prod(1),
    "logsumexp": lambda x: x.logsumexp((2, 3)),
}


@pytest.mark.parametrize("word", REDUCTIONS)
@pytest.mark.parametrize("place", ["argument", "state"])
def test_what_has_gaps_is_reduced_in_the_order_of_its_axes(word: str, place: str) -> None:
    """A run copies it in order, where NumPy would add along the strides: the bits are those of `x.contiguous()`."""
    numbers = np.random.default_rng(0).standard_normal((3, 4, 8, 6)).astype(np.float32)
    x, reduce = dt.tensor(numbers).permute(0, 3, 1, 2), REDUCTIONS[word]
    traced = dt.trace(reduce)(x) if place == "argument" else dt.trace(lambda: reduce(x))()
    assert traced.numpy().tobytes() == reduce(x.contiguous()).numpy().tobytes()
    np.testing.assert_allclose(traced.numpy(), reduce(x).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("word", REDUCTIONS)
def test_views_within_a_function_are_reduced_as_eagerly(word: str) -> None:
    x = dt.tensor(np.random.default_rng(0).standard_normal((3, 4, 8, 6)).astype(np.float32))
    assert x.numpy().flags.c_contiguous

    def reduce(x: dt.Tensor) -> dt.Tensor:
        return REDUCTIONS[word](x.permute(0, 3, 1, 2))

    assert dt.trace(reduce)(x).numpy().tobytes() == reduce(x).numpy().tobytes()
