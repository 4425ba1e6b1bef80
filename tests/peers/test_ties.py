"""The judge of places among equal elements: another right place is equal, a wrong one is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dtrain[peers]'")

import dtrain as dt
from peers.judge import judge
from peers.tally import DIFFERENT, EQUAL

pytestmark = pytest.mark.peers
X = [[3.0, 1.0, 3.0, 3.0], [2.0, float("nan"), 0.0, float("nan")]]


def verdict(name: str, places: Any, *arguments: Any, values: Any = None, slopes: Any = None, **options: Any) -> str:
    """What the judge says to these places, with x there beside them and the gradient that belongs to them."""
    x = torch.tensor(X, requires_grad=True)
    sample = SimpleNamespace(input=x, args=arguments, kwargs=options)
    theirs = getattr(torch, name)
    right = theirs(x, *arguments, **options)

    def ours(mine: dt.Tensor, *rest: Any, **words: Any) -> Any:
        index = dt.tensor(places, dtype=dt.int64)
        if isinstance(right, torch.Tensor):
            return index
        if values is not None:
            return dt.tensor(values), index
        index_of = index if index.ndim == mine.ndim else index.unsqueeze(1)
        taken = dt.functional.gather(mine if slopes is None else mine.flip(1), 1, index_of)
        taken = taken if index.ndim == mine.ndim else taken.squeeze(1)
        return taken, index

    return judge(theirs, ours, sample, drawn=False, name=name)[0]


@pytest.mark.parametrize("places", [[[0, 2], [1, 3]], [[2, 0], [3, 1]], [[3, 2], [1, 3]]])
def test_any_of_the_largest_is_right_in_any_order(places: Any) -> None:
    assert verdict("topk", places, 2) == EQUAL
    assert verdict("topk", places, 2, dim=1) == EQUAL


@pytest.mark.parametrize(
    "places",
    [
        [[0, 1], [1, 3]],  # another value
        [[0, 0], [1, 3]],  # one place twice: the values are right all the same
        [[0, 2], [1, 1]],
        [[0, 2], [1, 4]],  # outside
        [[0, -1], [1, 3]],
        [[0, 2], [3, 0]],  # a number for a NaN
        [[0], [1]],  # another shape
    ],
)
def test_wrong_places_are_found(places: Any) -> None:
    inside = [[min(max(place, 0), 3) for place in row] for row in places]
    right = torch.tensor(X).gather(1, torch.tensor(inside)).tolist()
    assert verdict("topk", places, 2, values=right if places != inside else None) == DIFFERENT


def test_right_places_do_not_excuse_wrong_values() -> None:
    assert verdict("topk", [[2, 0], [3, 1]], 2, values=[[3.0, 1.0], [float("nan")] * 2]) == DIFFERENT
    assert verdict("kthvalue", [3, 1], 4, values=[3.0, 2.0]) == DIFFERENT


def test_the_gradient_belongs_to_our_places() -> None:
    """With the values of the largest, and places as right as theirs, but gradients that go to other elements."""
    assert verdict("kthvalue", [3, 3], 4) == EQUAL
    assert verdict("kthvalue", [3, 3], 4, slopes="of the other end") == DIFFERENT


@pytest.mark.parametrize("place", [0, 2, 3])
def test_one_place_of_several(place: int) -> None:
    assert verdict("kthvalue", [place, 1], 4) == EQUAL
    assert verdict("mode", [place, 2], 1) == EQUAL
    assert verdict("kthvalue", [[place], [3]], 4, keepdim=True) == EQUAL
    assert verdict("kthvalue", [1, 1], 4) == DIFFERENT


def test_sorted_places() -> None:
    assert verdict("sort", [[1, 3, 0, 2], [2, 0, 3, 1]]) == EQUAL
    assert verdict("sort", [[1, 3, 0, 3], [2, 0, 3, 1]]) == DIFFERENT
    assert verdict("argsort", [[1, 3, 0, 2], [2, 0, 3, 1]]) == EQUAL
    assert verdict("argsort", [[3, 1, 0, 2], [2, 0, 3, 1]]) == DIFFERENT


def test_where_the_order_is_said_places_are_numbers() -> None:
    """A stable sort keeps the order of equal elements, and the first of the largest is the largest's place."""
    assert verdict("sort", [[1, 0, 2, 3], [2, 0, 1, 3]], stable=True) == EQUAL
    assert verdict("sort", [[1, 3, 0, 2], [2, 0, 3, 1]], stable=True) == DIFFERENT
    assert verdict("argmax", [0, 1], 1) == EQUAL
    assert verdict("argmax", [2, 1], 1) == DIFFERENT
    assert verdict("max", [2, 1], 1) == DIFFERENT
