"""Headers: what is refused, and that looking for the newest checkpoint never trips over one."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from dtrain.base.errors import CheckpointError
from dtrain.checkpoint import file as module
from dtrain.checkpoint.file import is_complete, load, save
from dtrain.checkpoint.training import latest

METADATA = {"format": "dtrain-checkpoint", "version": "1", "structure": "{}", "checksum": ""}
ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def forged(header: object, payload: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + payload


def with_metadata(**changes: object) -> bytes:
    metadata = {**METADATA, **changes}
    return forged({"__metadata__": {key: value for key, value in metadata.items() if value is not ...}})


HOSTILE = {
    "nothing": b"",
    "seven bytes": b"1234567",
    "length beyond the file": (2**63).to_bytes(8, "little") + b"{}",
    "length zero": (0).to_bytes(8, "little"),
    "no JSON": forged(b"{nonsense"),
    "no UTF-8": forged(b"\xff\xfe{}"),
    "a list": forged([1]),
    "a number": forged(b"5"),
    "deep": forged(b"[" * 100_000),
    "deep in a dict": forged(b'{"a":' * 50_000),
    "long number": forged(b'{"a":' + b"1" * 5000 + b"}"),
    "metadata is a list": forged({"__metadata__": [1]}),
    "metadata is a text": forged({"__metadata__": "dtrain-checkpoint"}),
    "entries are numbers": forged({"__metadata__": METADATA, "x": 1}),
    "entry without offsets": forged({"__metadata__": METADATA, "x": {"dtype": "F32", "shape": [1]}}),
    "no offsets": forged({"__metadata__": METADATA, "x": {**ENTRY, "data_offsets": []}}),
    "offsets are texts": forged({"__metadata__": METADATA, "x": {**ENTRY, "data_offsets": ["0", "4"]}}),
    "offsets backwards": forged({"__metadata__": METADATA, "x": {**ENTRY, "data_offsets": [4, 0]}}, b"1234"),
    "offsets overlap": forged({"__metadata__": METADATA, "x": ENTRY, "y": ENTRY}, b"1234"),
    "shape is no list": forged({"__metadata__": METADATA, "x": {**ENTRY, "shape": 1}}, b"1234"),
    "shape too large": forged({"__metadata__": METADATA, "x": {**ENTRY, "shape": [2**62, 2**62]}}, b"1234"),
    "unknown dtype": forged({"__metadata__": METADATA, "x": {**ENTRY, "dtype": "X9"}}, b"1234"),
    "foreign dtype": forged({"__metadata__": METADATA, "x": {**ENTRY, "dtype": "F8_E4M3", "shape": [4]}}, b"1234"),
    "no version": with_metadata(version=...),
    "no structure": with_metadata(structure=...),
    "no checksum": with_metadata(checksum=...),
    "version is a number": with_metadata(version=1),
    "version is a superscript": with_metadata(version="²"),
    "version is negative": with_metadata(version="-1"),
    "version is huge": with_metadata(version="1" * 5000),
    "version 0": with_metadata(version="0"),
    "structure is a dict": with_metadata(structure={}),
    "checksum is wrong": with_metadata(checksum="0"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers_are_refused_as_such(tmp_path, name):
    path = tmp_path / "x.safetensors"
    path.write_bytes(HOSTILE[name])
    assert is_complete(path) in (True, False)
    with pytest.raises(CheckpointError, match=r"checkpoint .*x\.safetensors: expected"):
        load(path)


@pytest.mark.timeout(20)  # a pipe that is opened would be waited for
def test_latest_passes_over_everything_that_is_none(tmp_path):
    save(tmp_path / "good-7.safetensors", {"x": np.zeros(3)})
    for number, content in enumerate(HOSTILE.values(), 100):
        (tmp_path / f"bad-{number}.safetensors").write_bytes(content)
    (tmp_path / "folder-300.safetensors").mkdir()
    os.mkfifo(tmp_path / "pipe-301.safetensors")
    (tmp_path / "link-302.safetensors").symlink_to(tmp_path / "nowhere")
    (tmp_path / ("9" * 240 + ".safetensors")).write_bytes(b"")
    (tmp_path / "٣٤٥.safetensors").write_bytes(b"")
    names = {latest(tmp_path).name}
    for path in tmp_path.glob("bad-*"):  # those whose header is right; only their contents are not
        if is_complete(path):
            path.unlink()
            names.add(latest(tmp_path).name)
    assert latest(tmp_path).name == "good-7.safetensors"


def test_names_of_any_length_count_as_numbers(tmp_path):
    for name in ("run-0009", "run-10", "run", "run-" + "1" * 200, "run-" + "2" * 200):
        save(tmp_path / f"{name}.safetensors", {})
    order = []
    while (path := latest(tmp_path)) is not None:
        order.append(path.stem)
        path.unlink()
    assert order == ["run-" + "2" * 200, "run-" + "1" * 200, "run-10", "run-0009", "run"]


def test_a_newer_version_counts_as_whole_so_that_loading_says_so(tmp_path, monkeypatch):
    save(tmp_path / "a-1.safetensors", {})
    monkeypatch.setattr(module, "VERSION", 7)
    save(tmp_path / "a-2.safetensors", {})
    monkeypatch.undo()
    assert latest(tmp_path).name == "a-2.safetensors"
    with pytest.raises(CheckpointError, match="got 7; update dtrain"):
        load(latest(tmp_path))


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_says_who_may_read(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        save(tmp_path / "x", {"x": np.zeros(2)})
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == mode
