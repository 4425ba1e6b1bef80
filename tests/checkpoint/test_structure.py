"""Nested values taken apart and put together."""

from __future__ import annotations

import json

import numpy as np
import pytest

import dtrain as dt
from dtrain.checkpoint.structure import decode, encode

VALUE = {"a": [1, 2.5, None, True, "text"], "b": (dt.tensor([1.0]), {"c": np.arange(3)}), "empty": {}, "n": np.int64(4)}


def test_round_trip_through_json():
    structure, arrays = encode(VALUE)
    assert list(arrays) == ["b.0", "b.1.c"]
    back = decode(json.loads(json.dumps(structure)), arrays)
    assert back["a"] == VALUE["a"] and back["empty"] == {} and back["n"] == 4
    assert isinstance(back["b"], tuple) and isinstance(back["b"][0], dt.Tensor)
    assert back["b"][0].tolist() == [1.0] and back["b"][1]["c"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"x": [object]}, r"\(type\) at x\.0"),
        ({"x": {1: 2}}, r"dict keys that are texts.*got 1 \(int\) at x"),
        ({"$tensor": 1}, "not beginning with"),
    ],
)
def test_what_cannot_be_saved_is_named(value, message):
    with pytest.raises(dt.errors.CheckpointError, match=message):
        encode(value)


def test_arrays_of_foreign_dtypes_are_refused():
    with pytest.raises(dt.errors.DtypeError, match="complex128"):
        encode(np.zeros(1, complex))
