"""Draws by weight: their shares, their places, what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.base.errors import ShapeError


@pytest.mark.parametrize("dtype", ["f16", "f32", "f64"])
@pytest.mark.parametrize("replacement", [True, False])
def test_places_come_as_often_as_their_weights_say(dtype: str, replacement: bool) -> None:
    weights = np.array([1.0, 0.0, 3.0, 4.0])
    rows = dt.tensor(np.tile(weights, (8000, 1))).to(dtype)
    drawn = F.multinomial(rows, 1, replacement, generator=dt.Generator(1)).numpy()
    assert drawn.shape == (8000, 1) and drawn.dtype == np.int64
    np.testing.assert_allclose(np.bincount(drawn[:, 0], minlength=4) / 8000, weights / 8, atol=0.02)


def test_without_replacement_the_second_is_drawn_from_the_rest() -> None:
    rows = dt.tensor(np.tile([1.0, 2.0, 5.0, 0.0], (8000, 1)))
    drawn = F.multinomial(rows, 2, generator=dt.Generator(2)).numpy()
    assert (drawn[:, 0] != drawn[:, 1]).all()
    share = np.mean((drawn[:, 0] == 2) & (drawn[:, 1] == 1))
    assert abs(share - 5 / 8 * 2 / 3) < 0.02


def test_many_draws_of_one_row_and_of_several() -> None:
    drawn = F.multinomial(dt.tensor([0.0, 0.25, 0.75]), 6000, replacement=True, generator=dt.Generator(3)).numpy()
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 6000, [0, 0.25, 0.75], atol=0.025)
    assert dt.multinomial(input=dt.eye(3), num_samples=1).tolist() == [[0], [1], [2]]  # type: ignore[attr-defined]
    assert dt.eye(2).multinomial(5, replacement=True).tolist() == [[0] * 5, [1] * 5]
    assert sorted(F.multinomial(dt.ones(5), 5).tolist()) == [0, 1, 2, 3, 4]


def test_traced_draws_are_the_eager_ones_and_new_in_every_run() -> None:
    @dt.trace
    def draw(weights: dt.Tensor) -> dt.Tensor:
        return F.multinomial(weights, 4, replacement=True)

    weights = dt.ones(1000)
    dt.manual_seed(5)
    eager = [F.multinomial(weights, 4, replacement=True).tolist() for _ in range(2)]
    dt.manual_seed(5)
    assert [draw(weights).tolist() for _ in range(2)] == eager and eager[0] != eager[1]


@pytest.mark.parametrize(
    ("weights", "count", "replacement"),
    [([0.0, 0.0], 1, True), ([-1.0, 2.0], 1, True), ([float("nan"), 1.0], 1, False), ([float("inf"), 1.0], 1, True),
     ([1.0, 0.0], 2, False), ([[1.0, 1.0], [0.0, 0.0]], 1, False)],
)  # fmt: skip
def test_weights_that_no_draw_can_follow_are_refused(weights: Any, count: int, replacement: bool) -> None:
    traced = dt.trace(lambda x: F.multinomial(x, count, replacement))
    for draw in (lambda x: F.multinomial(x, count, replacement), traced):
        with pytest.raises(RuntimeError, match="multinomial: expected weights with a total"):
            draw(dt.tensor(weights))


@pytest.mark.parametrize(("shape", "count"), [((3,), 4), ((3,), 0), ((2, 0), 1), ((), 1), ((1, 2, 3), 1)])
def test_shapes_that_no_draw_can_follow_are_refused(shape: tuple[int, ...], count: int) -> None:
    with pytest.raises(ShapeError, match="multinomial: expected weights"):
        F.multinomial(dt.ones(shape), count)
