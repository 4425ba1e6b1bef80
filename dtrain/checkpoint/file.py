"""Checkpoint files: safetensors with a checksum, written so that a crash leaves the old file or the new, never half.

The header's metadata holds format, version, the JSON structure around the tensors and a BLAKE2 checksum over all of
it. Other tools read the tensors as of any safetensors file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from dtrain.base.errors import CheckpointError, expected
from dtrain.checkpoint.structure import decode, encode

VERSION = 1
_FORMAT = "dtrain-checkpoint"
_MAX_HEADER_NBYTES = 1 << 28

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


def save(path: PathLike, value: Any) -> None:
    """Write a nested value of tensors, arrays, numbers and texts to `path`, in one step or not at all.

    Raises:
        CheckpointError: the value holds something else, or the file cannot be written.
    """
    from safetensors.numpy import save_file

    structure, arrays = encode(value)
    # Empty names are none in safetensors, and a 0-d array would become 1-d through ascontiguousarray.
    arrays = {name: array if array.flags.c_contiguous else array.copy(order="C") for name, array in arrays.items()}
    text = json.dumps(structure)
    metadata = {"format": _FORMAT, "version": str(VERSION), "structure": text, "checksum": _checksum(text, arrays)}
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        save_file(arrays, temporary, metadata=metadata)
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
        temporary.unlink(missing_ok=True)


def load(path: PathLike) -> Any:
    """Read back what `save` wrote; tensors come on the CPU.

    Raises:
        CheckpointError: no such file, not a checkpoint, of a newer version, cut short, or changed since.
    """
    raw = _read(Path(path))
    metadata = _metadata(Path(path), raw)
    arrays = _arrays(Path(path), raw)
    if _checksum(metadata["structure"], arrays) != metadata["checksum"]:
        raise _broken(path, "contents that match the checksum", "another", "the file was damaged; use an older one")
    return decode(json.loads(metadata["structure"]), arrays)


def is_complete(path: PathLike) -> bool:
    """Whether a file is a whole checkpoint, by its header and length alone."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            header_nbytes = int.from_bytes(file.read(8), "little")
            if header_nbytes > min(size, _MAX_HEADER_NBYTES):
                return False
            header = json.loads(file.read(header_nbytes))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        is_ours = header.get("__metadata__", {}).get("format") == _FORMAT
        return is_ours and bool(size == 8 + header_nbytes + max(ends, default=0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        beside = sorted(other.name for other in path.parent.glob("*.safetensors"))[-5:]
        found = ", ".join(beside) or "no checkpoint"
        raise _broken(path, "an existing file", f"none (the folder holds {found})", "check the path") from None
    except OSError as error:
        raise _broken(path, "a readable file", str(error)) from error


def _metadata(path: Path, raw: bytes) -> Mapping[str, str]:
    header_nbytes = int.from_bytes(raw[:8], "little")
    try:
        if len(raw) < 8 + header_nbytes:
            raise ValueError(f"{len(raw)} bytes")
        header = json.loads(raw[8 : 8 + header_nbytes])
        metadata: Mapping[str, str] = header.get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError):
        advice = "it was cut short or is of another kind; use an older one"
        raise _broken(path, "a safetensors file", f"{len(raw)} bytes that are none", advice) from None
    if metadata.get("format") != _FORMAT or not {"version", "structure", "checksum"} <= metadata.keys():
        kind = metadata.get("format", "none")
        advice = "read files of other programs with safetensors, and model.load_state_dict"
        raise _broken(path, "a checkpoint written by dtrain", f"a safetensors file of format {kind!r}", advice)
    if not metadata["version"].isdigit() or int(metadata["version"]) > VERSION:
        raise _broken(path, f"version {VERSION} or older", metadata["version"], "update dtrain")
    return metadata


def _arrays(path: Path, raw: bytes) -> dict[str, np.ndarray]:
    import safetensors

    read: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = safetensors.deserialize
    try:
        found = read(raw)
    except safetensors.SafetensorError as error:
        advice = "the file was cut short or damaged; use an older one"
        raise _broken(path, "a whole safetensors file", str(error), advice) from None
    # Copies, since arrays on bytes could not be written to.
    return {
        name: np.frombuffer(view["data"], _DTYPES[view["dtype"]]).reshape(view["shape"]).copy() for name, view in found
    }


def _checksum(structure: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(structure.encode(), digest_size=16)
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Wait until the file, or the folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _broken(path: PathLike, wanted: str, given: str, advice: str = "") -> CheckpointError:
    return CheckpointError(expected(f"checkpoint {os.fspath(path)}", wanted, given, advice))


def _not_written(path: Path, error: Exception) -> CheckpointError:
    return _broken(path, "a place to write to", str(error), "check that the folder exists and has room")
