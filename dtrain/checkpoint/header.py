"""The header of a checkpoint file: what it must hold, checked once for whoever reads it.

8 bytes: length of the header · JSON: {name: {dtype, shape, data_offsets}, "__metadata__": {…}} · the arrays' bytes
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dtrain.base.errors import CheckpointError, expected

VERSION = 1
FORMAT = "dtrain-checkpoint"
MAX_HEADER_NBYTES = 1 << 28
_NEEDED = ("version", "structure", "checksum")


class NewerVersionError(CheckpointError):
    """A checkpoint of a version of the format that this dtrain does not know."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a checkpoint says of itself."""

    metadata: Mapping[str, str]
    file_nbytes: int  # of the whole file, by its list of arrays


def read_header(path: str | os.PathLike[str], start: bytes, size: int) -> Header:
    """The header of a file of `size` bytes that begins with `start`.

    Raises:
        CheckpointError: it is none of dtrain's, or not whole.
        NewerVersionError: it is one that this version cannot read.
    """
    nbytes = int.from_bytes(start[:8], "little")
    try:
        if len(start) < 8 or not 0 < nbytes <= min(len(start) - 8, MAX_HEADER_NBYTES):
            raise ValueError
        header = dict(json.loads(start[8 : 8 + nbytes]))
        metadata = header.pop("__metadata__", {})
        ends = [_end(entry) for entry in header.values()]
        if not isinstance(metadata, dict):
            raise ValueError
    except (ValueError, TypeError, AttributeError, RecursionError):
        advice = "it was cut short or is of another kind; use an older one"
        raise broken(path, "a safetensors file", f"{size} bytes that are none", advice) from None
    _check(path, metadata)
    return Header(metadata, 8 + nbytes + max(ends, default=0))


def _end(entry: Any) -> int:
    match entry:
        case {"data_offsets": [int(), int(end)]}:
            return end
    raise ValueError


def _check(path: str | os.PathLike[str], metadata: Mapping[str, Any]) -> None:
    if metadata.get("format") != FORMAT:
        kind = metadata.get("format", "none")
        advice = "read files of other programs with safetensors, and model.load_state_dict"
        raise broken(path, "a checkpoint written by dtrain", f"a safetensors file of format {kind!r:.40}", advice)
    wrong = [name for name in _NEEDED if not isinstance(metadata.get(name), str)]
    if wrong or not re.fullmatch(r"[0-9]{1,9}", metadata["version"]):
        named = ", ".join(wrong) or f"version {metadata['version']!r:.40}"
        raise broken(path, "a header with version, structure and checksum", f"one without {named}", "use another file")
    if not 1 <= int(metadata["version"]) <= VERSION:
        text = expected(_where(path), f"version {VERSION} or older", metadata["version"], "update dtrain")
        raise NewerVersionError(text)


def broken(path: str | os.PathLike[str], wanted: str, given: str, advice: str = "") -> CheckpointError:
    """The error of a file that cannot be used."""
    return CheckpointError(expected(_where(path), wanted, given, advice))


def _where(path: str | os.PathLike[str]) -> str:
    return f"checkpoint {os.fspath(path)}"
