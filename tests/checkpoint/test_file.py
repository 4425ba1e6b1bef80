"""Checkpoint files: round trips, damage, and atomic replacement."""

from __future__ import annotations

import json
import os

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import dtrain as dt
from dtrain.base.dtype import ALL
from dtrain.base.errors import CheckpointError
from dtrain.checkpoint import file as module
from dtrain.checkpoint.file import is_complete, load, save


@pytest.mark.parametrize("dtype", ALL, ids=lambda dtype: dtype.tag)
@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (2, 3)])
def test_every_dtype_and_shape_comes_back_bitwise(tmp_path, dtype, shape):
    array = np.asarray(np.arange(np.prod(shape, dtype=int)).reshape(shape) % 2).astype(dtype.numpy)
    save(tmp_path / "x", {"x": dt.as_tensor(array)})
    back = load(tmp_path / "x")["x"]
    assert back.type is dt.as_tensor(array).type
    assert back.numpy().tobytes() == array.tobytes()
    back.numpy()[...] = 0  # can be written to


def test_a_transposed_tensor_keeps_its_elements(tmp_path):
    array = np.arange(6.0).reshape(2, 3).T
    save(tmp_path / "x", [array])
    np.testing.assert_array_equal(load(tmp_path / "x")[0], array)


def test_a_bare_tensor_can_be_saved(tmp_path):
    save(tmp_path / "x", dt.tensor([1.0, 2.0]))
    assert load(tmp_path / "x").tolist() == [1, 2]


def test_other_tools_can_read_the_tensors(tmp_path):
    save(tmp_path / "x", {"layer": {"weight": dt.tensor([1.0, 2.0])}})
    assert load_file(tmp_path / "x")["layer.weight"].tolist() == [1, 2]


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "run.safetensors"
    save(path, {"x": np.arange(100.0), "note": "hello"})
    return path


def test_a_whole_file_is_complete(written):
    assert is_complete(written)


@pytest.mark.parametrize("kept", [0, 5, 8, 60, 400, -1])
def test_a_file_cut_short_is_refused(written, kept):
    written.write_bytes(written.read_bytes()[:kept])
    assert not is_complete(written)
    with pytest.raises(CheckpointError, match=r"run\.safetensors: expected a .*use an older one"):
        load(written)


def test_every_flipped_bit_of_the_payload_and_the_structure_is_found(written):
    raw = bytearray(written.read_bytes())
    for position in (len(raw) - 1, len(raw) - 500, raw.index(b"hello") + 1):
        raw[position] ^= 1
        written.write_bytes(raw)
        with pytest.raises(CheckpointError, match=r"contents that match the checksum.*use an older one"):
            load(written)
        raw[position] ^= 1


def test_missing_files_name_their_neighbours(written):
    with pytest.raises(CheckpointError, match=r"an existing file, got none \(the folder holds run\.safetensors\)"):
        load(written.parent / "other.safetensors")


def test_a_folder_is_no_checkpoint(tmp_path):
    with pytest.raises(CheckpointError, match=r"a readable file, got .*directory"):
        load(tmp_path)


@pytest.mark.timeout(10)
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x")
    for path in (tmp_path / "x", "/dev/zero"):
        with pytest.raises(CheckpointError, match="expected a file, got a pipe or a device"):
            load(path)


def test_files_of_other_programs_are_told_apart(tmp_path):
    save_file({"x": np.zeros(2)}, tmp_path / "x", metadata={"format": "pt"})
    assert not is_complete(tmp_path / "x")
    with pytest.raises(CheckpointError, match="written by dtrain, got a safetensors file of format 'pt'"):
        load(tmp_path / "x")


def test_a_newer_version_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "VERSION", 2)
    save(tmp_path / "x", {})
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="version 1 or older, got 2; update dtrain"):
        load(tmp_path / "x")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(written, monkeypatch):
    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(CheckpointError, match="a place to write to, got no space left"):
        save(written, {"x": np.zeros(3)})
    monkeypatch.undo()
    assert load(written)["note"] == "hello"
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_a_missing_folder_is_reported(tmp_path):
    with pytest.raises(CheckpointError, match="check that the folder exists"):
        save(tmp_path / "none" / "x", {})


@pytest.mark.parametrize("name", ["", "a\0b", "n" * 256, "file/below"])
def test_paths_that_lead_nowhere_are_said(tmp_path, name):
    save(tmp_path / "file", 1)
    with pytest.raises(CheckpointError, match=r"expected (a place to write to|the name of a file)"):
        save(os.path.join(tmp_path, name) if name else "", 1)
    with pytest.raises(CheckpointError):
        load(os.path.join(tmp_path, name))
    assert os.listdir(tmp_path) == ["file"]


def test_a_name_may_be_as_long_as_a_folder_takes(tmp_path):
    name = "ü" * 127
    save(tmp_path / name, 1)
    save(tmp_path / name, 2)
    assert load(tmp_path / name) == 2 and os.listdir(tmp_path) == [name]


def test_header_and_dtype_table_match_what_safetensors_writes(tmp_path):
    save(tmp_path / "x", {dtype.tag: np.zeros(1, dtype.numpy) for dtype in ALL})
    raw = (tmp_path / "x").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    for dtype in ALL:
        assert module._DTYPES[header[dtype.tag]["dtype"]] == dtype.numpy.type
    assert module._DTYPES["BF16"] is ml_dtypes.bfloat16


@pytest.mark.parametrize("as_text", [True, False])
def test_both_orders_of_path_and_value(tmp_path, as_text):
    path = str(tmp_path / "x") if as_text else tmp_path / "x"
    for arguments, keywords in (((path, [1]), {}), (([2], path), {}), ((), {"obj": [3], "f": path})):
        save(*arguments, **keywords) if not keywords else dt.save(**keywords)
        assert load(path) == dt.load(path, map_location="cpu", weights_only=True)
    assert load(path) == [3]
    for arguments in (([1], [2]), (None, {})):
        with pytest.raises(TypeError, match="write save"):
            save(*arguments)
