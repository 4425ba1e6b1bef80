"""Winograd's convolution: how far off it is, where it is taken, and that its pieces have the sizes that are planned."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.base.dtype import float32, float64
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.choice import choose, objection
from dtrain.kernels.policy import Policy, current_policy, policy_from, using
from dtrain.kernels.problem import Problem
from dtrain.kernels.registry import kernels_of, reference_of
from tests.helpers.convolution_calls import OPS, ConvolutionCall

KERNELS = [kernel for op in OPS for kernel in kernels_of(op) if "_winograd_" in kernel.name and kernel.is_supported]
F32 = [kernel for kernel in KERNELS if "_f32_" in kernel.name]
# Of the largest Σ |x| · |w|, in roundings of f32, for the numbers below. No such bound holds for all: a pixel whose
# weights are 0 is in no sum, and in the roundings of its tile (docs/design/0017-convolution.md).
BOUND = 24 * 2.0**-24


def images(
    draw: Callable[[tuple[int, ...]], np.ndarray],
    sizes: tuple[int, int, int, int, int] = (2, 9, 11, 13, 20),
    padding: tuple[int, int] = (1, 1),
) -> ConvolutionCall:
    """Images, 3×3 weights and a gradient of this (batch, channels, height, width, outputs)."""
    batch, channels, height, width, outputs = sizes
    y = (batch, outputs, height + 2 * padding[0] - 2, width + 2 * padding[1] - 2)
    attrs = {"stride": (1, 1), "padding": padding, "dilation": (1, 1), "groups": 1}
    return ConvolutionCall(draw((batch, channels, height, width)), draw((outputs, channels, 3, 3)), draw(y), attrs)


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def in_single(numbers: np.ndarray) -> np.ndarray:
    return numbers.astype(np.float32).astype(np.float64)


def one_huge(shape: tuple[int, ...]) -> np.ndarray:
    numbers = rng().standard_normal(shape)
    numbers.reshape(-1)[:: max(1, numbers.size // 7)] *= 1e6
    return numbers


def alternating(shape: tuple[int, ...]) -> np.ndarray:
    """The signs of a chess board: neighbours cancel in every difference that the transforms take."""
    signs = np.indices(shape).sum(0) % 2 * 2.0 - 1
    return signs * (1 + 1e-3 * rng().standard_normal(shape))


DRAWS: dict[str, Callable[[tuple[int, ...]], np.ndarray]] = {
    "normal": lambda shape: rng().standard_normal(shape),
    "positive": lambda shape: rng().uniform(0.5, 1.5, shape),
    "chess board": alternating,
    "nearly constant": lambda shape: 1000 + rng().standard_normal(shape),
    "a few huge": one_huge,
    "many sizes": lambda shape: rng().standard_normal(shape) * 10.0 ** rng().uniform(-8, 8, shape),
}


@pytest.mark.parametrize("kernel", F32, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("kind", DRAWS)
def test_the_error_on_numbers_of_many_kinds(kernel: Candidate, kind: str) -> None:
    """Of the largest output of Σ |x| |w|, since a tile mixes the sizes of all that it holds."""
    call = images(lambda shape: in_single(DRAWS[kind](shape)))
    exact = call.compute(reference_of(kernel.op), float64)
    off = np.abs(call.compute(kernel, float32) - exact)
    assert off.max() <= BOUND * call.compute(reference_of(kernel.op), float64, magnitudes=True).max()


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
@pytest.mark.parametrize("padding", [(0, 0), (1, 1), (2, 0), (1, 2)])
@pytest.mark.parametrize(
    "sizes",
    [(1, 1, 3, 3, 1), (1, 16, 4, 8, 16), (3, 17, 7, 7, 33), (1, 3, 5, 40, 31), (2, 40, 9, 6, 64), (130, 2, 3, 4, 2)],
)
def test_sizes_around_blocks_and_tiles(
    kernel: Candidate, padding: tuple[int, int], sizes: tuple[int, int, int, int, int]
) -> None:
    """One channel, one more than a block, tiles that stick out, chunks of tiles that end within an image."""
    dtype = float32 if "_f32_" in kernel.name else float64
    call = images(lambda shape: in_single(rng().standard_normal(shape)), sizes, padding)
    if not kernel.usable(call.problem(kernel.op, dtype)):
        pytest.skip("an output without elements")
    exact = call.compute(reference_of(kernel.op), float64)
    off = np.abs(call.compute(kernel, dtype) - exact)
    bound = BOUND if dtype is float32 else BOUND * 2.0**-29
    assert off.max() <= bound * call.compute(reference_of(kernel.op), float64, magnitudes=True).max()


@pytest.mark.parametrize("kernel", F32, ids=lambda kernel: kernel.name)
@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")  # of the reference
@pytest.mark.parametrize("number", [np.inf, -np.inf, np.nan, 3e38])
@pytest.mark.parametrize("sizes", [(3, 20, 12, 12, 24), (40, 2, 3, 9, 3)])
def test_what_is_not_finite_stays_where_it_is(
    kernel: Candidate, number: float, sizes: tuple[int, int, int, int, int]
) -> None:
    """The transforms would spread ∞ over a tile, and overflow below it. Other images keep their bits."""
    call = images(lambda shape: in_single(rng().standard_normal(shape)), sizes)
    first, shape, _ = call.of(kernel.op)
    before = call.compute(kernel, float32)
    first[0][1, 0, 2, 3] = number
    exact = call.compute(reference_of(kernel.op), float64).astype(np.float32)
    got = call.compute(kernel, float32)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
    np.testing.assert_allclose(got, exact, rtol=1e-4, atol=1e-4)
    if kernel.op != "conv2d_backward_weights":
        others = np.arange(shape[0]) != 1
        np.testing.assert_array_equal(got[others], before[others])


@pytest.mark.parametrize("op", OPS)
def test_where_it_is_taken(op: str) -> None:
    """Where it is asked for, by its cost, in f32; by name everywhere."""
    call = images(np.zeros, (2, 64, 28, 28, 64))
    problem = call.problem(op, float32)
    in_double = call.problem(op, float64)
    assert "_winograd_" not in choose(problem).name
    with using(is_accurate=False):
        chosen = choose(problem)
        assert "_winograd_" in chosen.name
        assert "_winograd_" not in choose(in_double).name
        (double,) = [kernel for kernel in KERNELS if kernel.name == chosen.name.replace("_f32_", "_f64_")]
        assert objection(double, in_double, current_policy()).endswith("which f64 is not asked for")
        assert objection(chosen, in_double, current_policy()) == chosen.why_not(in_double), "its dtype is the reason"
    why = objection(chosen, problem, current_policy())
    assert why == "may round 8 times as far as products added one by one: ask for it with DTRAIN_KERNELS=winograd"
    assert policy_from({"DTRAIN_KERNELS": "winograd"}) == Policy(is_accurate=False)
    with using(forced=frozenset({chosen.name})):
        assert choose(problem) is chosen


def test_a_masked_convolution_does_not_see_what_is_masked() -> None:
    """Unasked nobody gets a kernel that mixes pixels whose weights are 0 into an output: a causal model would cheat."""
    x = rng().standard_normal((2, 64, 28, 28)).astype(np.float32)
    weights = rng().standard_normal((64, 64, 3, 3)).astype(np.float32)
    weights[:, :, 2] = weights[:, :, 1, 1:] = 0
    before = F.conv2d(dt.tensor(x), dt.tensor(weights), padding=1).numpy()
    x[:, :, 27, 27] = 1e6
    np.testing.assert_array_equal(F.conv2d(dt.tensor(x), dt.tensor(weights), padding=1).numpy(), before)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"stride": (2, 1)}, "takes kernels of 3×3 with stride 1, dilation 1 and one group"),
        ({"dilation": (1, 2)}, "takes kernels of 3×3 with stride 1, dilation 1 and one group"),
        ({"groups": 3}, "takes kernels of 3×3 with stride 1, dilation 1 and one group"),
        ({"padding": (1, 3)}, "takes a padding of at most 2"),
    ],
)
def test_what_it_does_not_take_it_says(op: str, change: dict[str, Any], words: str) -> None:
    problem = images(np.zeros).problem(op, float32)
    other = Problem(op, problem.inputs, problem.outputs, {**problem.attrs, **change})
    assert {kernel.why_not(other) for kernel in F32 if kernel.op == op} == {words}


@pytest.mark.parametrize("kernel", F32, ids=lambda kernel: kernel.name)
def test_a_tile_is_the_same_beside_any_others(kernel: Candidate) -> None:
    """An image alone gives the bits that it gives in a batch, whatever rows a register tile takes: ranks and micro
    batches agree. The gradient of weights is a sum over images and is left out."""
    if kernel.op == "conv2d_backward_weights":
        pytest.skip("a sum over images")
    many = images(lambda shape: rng().standard_normal(shape).astype(np.float32), (5, 20, 12, 12, 40))
    whole = many.compute(kernel, float32)
    for n in range(5):
        one = images(np.zeros, (1, 20, 12, 12, 40))
        one.x, one.w, one.y = many.x[n : n + 1], many.w, many.y[n : n + 1]
        np.testing.assert_array_equal(one.compute(kernel, float32)[0], whole[n])
