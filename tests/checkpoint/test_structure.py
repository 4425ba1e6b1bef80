"""Nested values taken apart and put together."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import dtrain as dt
from dtrain.checkpoint.file import load, save
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


ONE, TWO, THREE = np.float32([1]), np.float32([2]), np.float32([3])


@pytest.mark.parametrize(
    "value",
    [
        {"ema.w": ONE, "ema": {"w": TWO}},
        {"ema": {"w": TWO}, "ema.w": ONE},
        {"a.b": ONE, "a": {"b": TWO}},
        {"a": {"b.c": ONE, "b": {"c": TWO}}, "a.b": {"c": THREE}},
        {"a": [ONE, TWO], "a.0": THREE},
        {"a": {"0": ONE}, "a.0": (TWO,), "a.0.0": THREE},
        {"__metadata__": ONE, "": {"": TWO}, "~": THREE},
        {"x": ONE, "x~": TWO, "": {"x": THREE}},
        {"": ONE, "b": TWO},
        [ONE, {"0": TWO}, (THREE,)],
        {".": ONE, "..": TWO, "a.": {"": THREE}},
    ],
    ids=lambda value: str(value).replace(", dtype=float32", ""),
)
def test_every_name_is_kept(value, tmp_path):
    save(tmp_path / "x", value)
    assert plain(load(tmp_path / "x")) == plain(value)
    assert len(load_file(tmp_path / "x")) == str(value).count("array(")


def plain(value):
    if isinstance(value, dict):
        return {key: plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    return value.tolist()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.ma.masked_array([1.0], [True]), "MaskedArray"),
        ({"a": {"\ud800": 1}}, r"dict keys that UTF-8 can say, got '.*' \(str\) at a"),
        ({"n": 10**5000}, "integers below 4000 digits, got one of 16610 bits at n"),
        ({"z": 1j}, r"1j \(complex\) at z"),
        ({"z": np.complex64(1j)}, r"1j \(complex\) at z"),
    ],
    ids=["mask", "surrogate", "long integer", "complex", "numpy complex"],
)
def test_what_would_come_back_as_something_else_is_refused(value, message):
    with pytest.raises(dt.errors.CheckpointError, match=message):
        encode(value)


def test_what_contains_itself_is_refused_and_deep_values_come_back(tmp_path):
    endless = {"a": []}
    endless["a"].append(endless)
    with pytest.raises(dt.errors.CheckpointError, match=r"at most 100 levels.*contain itself"):
        encode(endless)
    for wrap in (lambda inner: [inner], lambda inner: (inner,), lambda inner: {"k": inner}):
        deep = ONE
        for _ in range(100):
            deep = wrap(deep)
        save(tmp_path / "x", deep)
        assert plain(load(tmp_path / "x")) == plain(deep)
        with pytest.raises(dt.errors.CheckpointError, match="at most 100 levels"):
            encode(wrap(deep))


@pytest.mark.parametrize(
    "structure",
    [
        {"$tensor": "nothing"},
        {"$tensor": 5},
        {"$tensor": ["x"]},
        {"$tensor": None},
        {"$array": {}},
        {"$tuple": 5},
        {"$tuple": "ab"},
        {"$tuple": {"a": 1}},
        {"$other": 1},
        {"$tensor": "x", "a": 1},
        {"a": 1, "$tensor": "x"},
        [{"$tensor": "nothing"}],
        {"deep": {"$tuple": [{"$array": 0}]}},
    ],
    ids=str,
)
def test_a_structure_that_nobody_wrote_is_refused(structure):
    with pytest.raises(dt.errors.CheckpointError, match="structure of the checkpoint: expected"):
        decode(structure, {"x": ONE})
