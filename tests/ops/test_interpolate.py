"""Images of other sizes against formulas written out element by element, and what needs no formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F

RANDOM = np.random.default_rng(0)


def point(x: np.ndarray, place: float) -> float:
    """x at a place between two elements of a row; beyond the ends, the ends."""
    place = min(max(place, 0.0), len(x) - 1.0)
    low = int(place)
    high = min(low + 1, len(x) - 1)
    return float(x[low] * (1 - (place - low)) + x[high] * (place - low))


def row(x: np.ndarray, new: int, scale: float, align_corners: bool) -> np.ndarray:
    old = len(x)
    if align_corners:
        places = [i * (old - 1) / max(new - 1, 1) for i in range(new)]
    else:
        places = [(i + 0.5) * scale - 0.5 for i in range(new)]
    return np.array([point(x, place) for place in places])


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("size", [(1, 9), (8, 3), (5, 14), (10, 7)])
def test_bilinear(size: tuple[int, int], align_corners: bool) -> None:
    x = RANDOM.normal(size=(2, 3, 5, 7))
    wanted = np.apply_along_axis(lambda r: row(r, size[0], 5 / size[0], align_corners), 2, x)
    wanted = np.apply_along_axis(lambda r: row(r, size[1], 7 / size[1], align_corners), 3, wanted)
    found = F.interpolate(dt.tensor(x, dtype="f64"), size, mode="bilinear", align_corners=align_corners)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("factor", "recomputed"), [(1.5, False), (1.3, False), (1.3, True), (0.6, False)])
def test_the_factor_that_was_asked_for_places_elements(factor: float, recomputed: bool) -> None:
    x = RANDOM.normal(size=(1, 2, 7))
    new = int(7 * factor)
    wanted = np.apply_along_axis(lambda r: row(r, new, 7 / new if recomputed else 1 / factor, False), 2, x)
    found = F.interpolate(
        dt.tensor(x, dtype="f64"), scale_factor=factor, mode="linear", recompute_scale_factor=recomputed
    )
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("shape", [(5,), (5, 4), (3, 4, 5)])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_of_one_to_three_axes(shape: tuple[int, ...], mode: Any) -> None:
    x = RANDOM.normal(size=(2, 3, *shape))
    size = tuple(2 * n - 1 for n in shape)
    shift = 0.5 if mode == "nearest-exact" else 0.0
    places = [[int((i + shift) * n / m) for i in range(m)] for n, m in zip(shape, size)]
    found = F.interpolate(dt.tensor(x, dtype="f64"), size, mode=mode)
    np.testing.assert_array_equal(found.numpy(), x[np.ix_(range(2), range(3), *places)])


@pytest.mark.parametrize(("shape", "size"), [((7,), (3,)), ((5, 7), (2, 9)), ((4, 5, 6), (3, 2, 4))])
def test_areas_of_one_to_three_axes(shape: tuple[int, ...], size: tuple[int, ...]) -> None:
    x = RANDOM.normal(size=(2, 3, *shape))
    wanted = x
    for axis, (old, new) in enumerate(zip(shape, size), 2):
        cells = [range(i * old // new, -(-(i + 1) * old // new)) for i in range(new)]
        wanted = np.stack([np.take(wanted, list(cell), axis).mean(axis) for cell in cells], axis)
    found = F.interpolate(dt.tensor(x, dtype="f64"), size, mode="area")
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-12)


def test_integers_have_nearest_neighbours_alone() -> None:
    x = dt.tensor([[[[1, 2], [3, 4]]]], dtype="u8")
    assert F.upsample(x, scale_factor=2).tolist()[0][0][0] == [1, 1, 2, 2]
    with pytest.raises(TypeError, match="floats in mode bilinear"):
        F.interpolate(x, 3, mode="bilinear")


def test_a_plane_stays_a_plane() -> None:
    rows, columns = np.meshgrid(np.arange(6.0), np.arange(8.0), indexing="ij")
    x = dt.tensor((2 * rows - 3 * columns)[None, None], dtype="f64")
    for height, width in ((11, 15), (21, 29)):
        found = F.interpolate(x, (height, width), mode="bilinear", align_corners=True).numpy()[0, 0]
        r, c = np.meshgrid(np.linspace(0, 5, height), np.linspace(0, 7, width), indexing="ij")
        np.testing.assert_allclose(found, 2 * r - 3 * c, atol=1e-12)


def test_bicubic_weights() -> None:
    """Half way between two elements the weights are these four; at the ends the last element repeats."""
    weights = np.array([-0.09375, 0.59375, 0.59375, -0.09375])
    x = np.random.default_rng(1).normal(size=4)
    found = F.interpolate(dt.tensor(x[None, None, None], dtype="f64"), (1, 7), mode="bicubic", align_corners=True)
    padded = np.pad(x, 1, mode="edge")
    wanted = [x[0], padded[:4] @ weights, x[1], padded[1:5] @ weights, x[2], padded[2:] @ weights, x[3]]
    np.testing.assert_allclose(found.numpy().reshape(-1), wanted, rtol=1e-12)


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
def test_gradients_are_the_transpose_and_traces_the_same(mode: Any) -> None:
    x, weights = RANDOM.normal(size=(1, 2, 4, 5)), RANDOM.normal(size=(1, 2, 7, 3))
    leaf = dt.tensor(x, dtype="f64", requires_grad=True)
    result = F.interpolate(leaf, (7, 3), mode=mode)
    np.testing.assert_array_equal(dt.trace(F.interpolate)(leaf, (7, 3), mode=mode).numpy(), result.detach().numpy())
    (result * dt.tensor(weights, dtype="f64")).sum().backward()
    assert leaf.grad is not None
    direction = RANDOM.normal(size=x.shape)
    moved = F.interpolate(dt.tensor(direction, dtype="f64"), (7, 3), mode=mode)  # it is linear
    np.testing.assert_allclose((leaf.grad.numpy() * direction).sum(), (moved.numpy() * weights).sum(), rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "one of size and scale_factor, got neither"),
        ({"size": 3, "scale_factor": 2.0}, "got both"),
        ({"size": (1, 2, 3)}, "for each of 2 axes"),
        ({"size": (0, 2)}, "a number above 0"),
        ({"scale_factor": 0.1}, "sizes of at least 1"),
        ({"size": 3, "mode": "cubic"}, "mode nearest"),
        ({"size": 3, "mode": "linear"}, "3 axes in mode linear"),
        ({"size": 3, "align_corners": True}, "align_corners left out"),
        ({"size": 3, "recompute_scale_factor": True}, "beside a scale_factor"),
    ],
)
def test_errors(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        F.interpolate(dt.zeros(1, 2, 4, 5), **options)
