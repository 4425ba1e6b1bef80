"""flatten, unflatten."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest

import dtrain as dt
from dtrain.capture.structure import LEAF, flatten, unflatten


class Point(NamedTuple):
    x: object
    y: object


def take(value: object) -> tuple[list[dt.Tensor], object]:
    return flatten(value, tensors=lambda item: item if isinstance(item, dt.Tensor) else None)


A, B, C = (dt.zeros(n) for n in (1, 2, 3))


def test_tensors_come_in_order() -> None:
    found, _ = take({"k": [A, (B,)], "j": Point(C, A)})
    assert [id(tensor) for tensor in found] == [id(A), id(B), id(C), id(A)]


@pytest.mark.parametrize(
    "value",
    [
        A,
        (),
        [],
        {},
        None,
        3,
        "s",
        (A,),
        [A, [B]],
        {"k": A, "j": (1, None)},
        Point(A, 2),
        Point([A], Point(B, C)),
        (1.5,),
    ],
)
def test_round_trip_keeps_types(value: object) -> None:
    found, structure = take(value)
    back = unflatten(structure, found)

    def shape(item: object) -> object:
        if isinstance(item, dt.Tensor):
            return id(item)
        if isinstance(item, tuple | list):
            return type(item), [shape(child) for child in item]
        if isinstance(item, dict):
            return dict, [(key, shape(child)) for key, child in item.items()]
        return type(item), item

    assert shape(back) == shape(value)
    assert hash(structure) == hash(take(value)[1])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ((A,), [A]),
        ((), []),
        ({"a": 1}, {"b": 1}),
        ((A, 1), (1, A)),
        (Point(1, 2), (1, 2)),
    ],
)
def test_what_differs_has_another_structure(first: object, second: object) -> None:
    assert take(first)[1] != take(second)[1]


def test_the_same_structure_for_other_tensors_and_for_nan() -> None:
    assert take((A, [B]))[1] == take((B, [C]))[1]
    assert take(math.nan)[1] == take(float("nan"))[1]
    assert math.isnan(unflatten(take(math.nan)[1], []))
    assert math.copysign(1, unflatten(take(-0.0)[1], [])) == -1


def test_other_objects_belong_to_the_structure() -> None:
    marker = object()
    found, structure = take([marker, A])
    assert unflatten(structure, found)[0] is marker
    assert repr(LEAF) == "tensor"


def test_the_short_way_of_trace_gives_what_flatten_gives() -> None:
    from dtrain.capture.trace import _only_tensors

    for arguments in ((), (A,), (A, B, C)):
        assert take((arguments, {}))[1] == _only_tensors(len(arguments))
