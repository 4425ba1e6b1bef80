"""Checkpoints whose checksum is right and whose contents are not: refused as such, wherever the fault is."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from dtrain import data, nn, optim
from dtrain.base.errors import CheckpointError
from dtrain.checkpoint import file as module
from dtrain.checkpoint.file import load
from dtrain.checkpoint.structure import encode
from dtrain.checkpoint.training import load_checkpoint, save_checkpoint


def forge(path: Path, structure: str, arrays: dict[str, np.ndarray]) -> None:
    """A file that `save` could have written, but for what it says."""
    metadata = {"format": "dtrain-checkpoint", "version": "1", "structure": structure}
    save_file(arrays, path, metadata={**metadata, "checksum": module._checksum(structure, arrays)})


@pytest.mark.parametrize(
    "structure",
    [
        "",
        "nonsense",
        "[" * 100000,
        '{"a":' * 50000,
        "[1" + "0" * 5000 + "]",
        '{"$tensor": "y"}',
        '{"$tuple": 5}',
        "[" * 150 + "]" * 150 + " ",
        "[" * 250 + "]" * 250,
    ],
    ids=lambda text: text[:20],
)
def test_structures_that_nobody_wrote(tmp_path, structure):
    path = tmp_path / "x"
    forge(path, structure, {"x": np.zeros(2)})
    if structure.endswith("] "):
        load(path)  # odd, and harmless
        return
    with pytest.raises(CheckpointError, match=r"checkpoint .*: expected a value written by dtrain"):
        load(path)


def test_truth_values_are_zero_or_one(tmp_path):
    path = tmp_path / "x"
    forge(path, '{"$array": "x"}', {"x": np.array([0, 1, 2], np.uint8).view(np.bool_)})
    with pytest.raises(CheckpointError, match="x of 0 and 1"):
        load(path)


def make_run() -> dict[str, Any]:
    model = nn.Linear(2, 1)
    optimizer = optim.Adam(model.parameters(), 0.1)
    scheduler = optim.ExponentialLR(optimizer, 0.5)
    loader = data.DataLoader(data.ArrayDataset(np.arange(8.0)), 2, shuffle=True)
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler, "loader": loader}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def changed(structure: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value at one place, or without it where the value is `...`."""
    if not place:
        return None if value is ... else value
    result = copy.deepcopy(structure)
    holder = result
    for key in place[:-1]:
        holder = holder[key]
    if value is ...:
        del holder[place[-1]]
    else:
        holder[place[-1]] = value
    return result


ODD = (..., None, -1, 2**70, 1.5, float("nan"), "text", [], {}, [[1]], {"$tensor": "model.bias"}, {"a": 1})


def test_a_run_with_any_part_missing_or_of_another_type_loads_or_is_refused(tmp_path):
    run = make_run()
    next(iter(run["loader"]))
    assert save_checkpoint(tmp_path / "good", **run)
    good = load(tmp_path / "good")
    structure, arrays = encode(good)
    counts = {"refused": 0, "loaded": 0}
    for place in places(structure):
        for value in ODD:
            forge(tmp_path / "x", json.dumps(changed(structure, place, value)), arrays)
            try:
                load_checkpoint(tmp_path / "x", **make_run())
                counts["loaded"] += 1
            except CheckpointError as error:
                assert "expected" in str(error), (place, value)
                counts["refused"] += 1
    # What loads: other numbers in place of numbers, epoch, step and extra, which are the caller's.
    assert counts["refused"] > 400 and counts["loaded"] < 150, counts
