"""Checkpoint files: safetensors with a checksum, written so that a crash leaves the old file or the new, never half.

The header's metadata holds format, version, the JSON structure around the tensors and a BLAKE2 checksum over all of
it. Other tools read the tensors as of any safetensors file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from dtrain.base.errors import CheckpointError, expected
from dtrain.base.rank_info import rank_tag
from dtrain.checkpoint.header import FORMAT, MAX_HEADER_NBYTES, VERSION, NewerVersionError, broken, read_header
from dtrain.checkpoint.structure import decode, encode

_KEPT_OF_NAME = 180  # bytes; folders take 255

PathLike = str | os.PathLike[str]

_DTYPES = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
}


def save(path: PathLike | BinaryIO, value: Any) -> None:
    """Write a nested value of tensors, arrays, numbers and texts to `path`, in one step or not at all.

    `save(value, path)`, PyTorch's order, does the same: of a text and a value that is none, the text is the path. A
    file that is open for writing bytes may stand for the path: it gets the same bytes, where it stands.

    Raises:
        CheckpointError: the value holds something else, or the file cannot be written.
    """
    from safetensors.numpy import save as as_bytes
    from safetensors.numpy import save_file

    if _is_target(value) and not _is_target(path):
        path, value = value, path
    if not _is_target(path):
        advice = "write save(path, value)"
        raise TypeError(expected("checkpoint.save", "a path and a value", type(path).__name__, advice))
    structure, arrays = encode(value)
    # Empty names are none in safetensors, and a 0-d array would become 1-d through ascontiguousarray.
    arrays = {name: array if array.flags.c_contiguous else array.copy(order="C") for name, array in arrays.items()}
    text = json.dumps(structure)
    metadata = {"format": FORMAT, "version": str(VERSION), "structure": text, "checksum": _checksum(text, arrays)}
    if not isinstance(path, str | os.PathLike):
        path.write(as_bytes(arrays, metadata=metadata))
        return
    target = Path(path)
    temporary = _beside(target)
    try:
        mode = _mode_of_new_files(temporary)
        save_file(arrays, temporary, metadata=metadata)
        os.chmod(temporary, mode)  # safetensors lets nobody but the owner read
        _sync(temporary)
        os.replace(temporary, target)
        _sync(target.parent)
    except OSError as error:
        raise _not_written(target, error) from error
    except Exception as error:
        # safetensors wraps what the operating system says in an error of its own.
        if type(error).__module__.partition(".")[0] != "safetensors":
            raise
        raise _not_written(target, error) from error
    finally:
        with suppress(OSError):  # of a path that leads nowhere, which has been said
            temporary.unlink()


def load(path: PathLike | BinaryIO) -> Any:
    """Read back what `save` wrote, from a path or an open file of bytes; tensors come on the CPU.

    Raises:
        CheckpointError: no such file, not a checkpoint, of a newer version, cut short, changed since, or made by
            somebody to look like one.
    """
    if isinstance(path, str | os.PathLike):
        raw = _read(Path(path))
    else:
        raw, path = path.read(), str(getattr(path, "name", "an open file"))
    _expect_no_pickle(path, raw)
    metadata = read_header(path, raw, len(raw)).metadata
    arrays = _arrays(Path(path), raw)
    if _checksum(metadata["structure"], arrays) != metadata["checksum"]:
        raise broken(path, "contents that match the checksum", "another", "the file was damaged; use an older one")
    try:
        return decode(json.loads(metadata["structure"]), arrays)
    except CheckpointError as error:
        raise broken(path, "a value written by dtrain", "another", str(error).removeprefix(rank_tag())) from error
    except (ValueError, RecursionError) as error:
        raise broken(path, "a value written by dtrain", f"{error}", "use another file") from None


def _is_target(value: Any) -> bool:
    return isinstance(value, str | os.PathLike) or callable(getattr(value, "write", None))


def _expect_no_pickle(path: PathLike, raw: bytes) -> None:
    """PyTorch writes a zip archive around a pickle, or, before, pickles: reading one may run any code."""
    if raw[8:9] == b"{":  # safetensors; the length in front of it may start as a pickle does
        return
    if raw.startswith(b"PK\x03\x04") or re.match(rb"\x80[\x02-\x05]", raw):
        advice = (
            "convert it where PyTorch is: state = torch.load(path, map_location='cpu'); "
            "safetensors.torch.save_file(state, 'model.safetensors'); then here "
            "model.load_state_dict(safetensors.numpy.load_file('model.safetensors'))"
        )
        raise broken(path, "a file written by dtrain", "a pickle, as torch.save writes it", advice)


def is_complete(path: PathLike) -> bool:
    """Whether a file is a whole checkpoint, by its header and length alone. Of a newer version too: `load` says so."""
    try:
        # A pipe of that name would be waited for.
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            nbytes = min(int.from_bytes(start, "little"), size, MAX_HEADER_NBYTES)
            header = read_header(path, start + file.read(nbytes), size)
    except NewerVersionError:
        return True
    except (OSError, CheckpointError):
        return False
    return size == header.file_nbytes


def _read(path: Path) -> bytes:
    if "\0" in str(path):
        raise broken(path, "the name of a file", repr(str(path)), "check the path")
    try:
        if (
            not path.is_file() and path.exists() and not path.is_dir()
        ):  # a pipe would be waited for, a device never ends
            raise broken(path, "a file", "a pipe or a device")
        return path.read_bytes()
    except FileNotFoundError:
        beside = sorted(other.name for other in path.parent.glob("*.safetensors"))[-5:]
        found = ", ".join(beside) or "no checkpoint"
        raise broken(path, "an existing file", f"none (the folder holds {found})", "check the path") from None
    except OSError as error:
        raise broken(path, "a readable file", str(error)) from error


def _arrays(path: Path, raw: bytes) -> dict[str, np.ndarray]:
    import safetensors

    read: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = safetensors.deserialize
    try:
        found = read(raw)
    except safetensors.SafetensorError as error:
        advice = "the file was cut short or damaged; use an older one"
        raise broken(path, "a whole safetensors file", str(error), advice) from None
    return {name: _array(path, name, view) for name, view in found}


def _array(path: Path, name: str, view: Mapping[str, Any]) -> np.ndarray:
    if view["dtype"] not in _DTYPES:
        raise broken(path, f"{name:.80} of dtype {', '.join(_DTYPES)}", view["dtype"], "read it with safetensors")
    data = np.frombuffer(view["data"], _DTYPES[view["dtype"]])
    if view["dtype"] == "BOOL" and data.view(np.uint8).max(initial=0) > 1:
        raise broken(path, f"{name:.80} of 0 and 1", "other bytes", "use another file")
    # A copy, since an array on bytes could not be written to.
    array: np.ndarray = data.reshape(view["shape"]).copy()
    return array


def _checksum(structure: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(structure.encode(), digest_size=16)
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _beside(target: Path) -> Path:
    """A name for the file until it is whole: not longer than a folder takes, however long the target's is."""
    if not target.name or "\0" in str(target):
        raise broken(target, "the name of a file", repr(str(target)), "check the path")
    start = os.fsdecode(os.fsencode(target.name)[:_KEPT_OF_NAME])
    return target.with_name(f".{start}.{os.getpid()}-{threading.get_ident()}.tmp")


def _mode_of_new_files(path: Path) -> int:
    """What the user's umask gives, asked of a file, since asking for the mask means setting it."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)


def _sync(path: Path) -> None:
    """Wait until the file, or the folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _not_written(path: Path, error: Exception) -> CheckpointError:
    return broken(path, "a place to write to", str(error), "check that the folder exists and has room")
