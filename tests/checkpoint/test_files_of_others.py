"""Open files in the place of paths, and checkpoints that PyTorch wrote."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path

import pytest

import dtrain as dt
from dtrain import checkpoint
from dtrain.base.errors import CheckpointError


def test_an_open_file_stands_for_a_path(tmp_path: Path) -> None:
    value = {"weight": dt.tensor([1.0, 2.0]), "epoch": 3}
    memory = io.BytesIO()
    dt.save(value, memory)
    memory.seek(0)
    with open(tmp_path / "a.pt", "wb") as file:
        dt.save(value, file)
    with open(tmp_path / "a.pt", "rb") as file:
        for found in (dt.load(file, map_location="cpu"), dt.load(memory), dt.load(tmp_path / "a.pt")):
            assert found["epoch"] == 3 and found["weight"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_pickle_is_called_one(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps({"weight": 1}, protocol=protocol))
    with pytest.raises(CheckpointError, match=r"torch\.save.*safetensors\.torch\.save_file"):
        checkpoint.load(path)


def test_an_archive_of_pytorch_is_called_one(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}))
    with pytest.raises(CheckpointError, match=r"a pickle, as torch\.save writes it"):
        dt.load(path)


@pytest.mark.parametrize("start", [b"\x80\x02", b"\x80\x03"])
def test_a_length_that_starts_as_a_pickle_is_no_pickle(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "a.safetensors"
    for size in range(1024):
        dt.save({"x" * size: 1}, path)
        if path.read_bytes().startswith(start):
            assert dt.load(path) == {"x" * size: 1}
            return
    raise AssertionError("no such file made")
