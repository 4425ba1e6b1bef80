"""`bundle.json`: what is in a bundle, so that whoever unpacks it can tell whether everything arrived."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dtrain.base.version import VERSION
from dtrain.launcher.bundle.target import Target, normal_name

NAME = "bundle.json"
# CUDA itself as wheels, and CuPy, which is of use beside it only: counted apart, since most GPU machines have them.
CUDA_LIBRARIES = ("nvidia-", "cupy-", "cuda-")


def is_cuda_library(file: str) -> bool:
    """Whether a wheel is one of CUDA's own libraries or CuPy."""
    return normal_name(Path(file).name).startswith(CUDA_LIBRARIES)


def describe(folder: Path, target: Target) -> dict[str, Any]:
    """The manifest of a folder: for whom it is, and size and SHA-256 of every file."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != NAME]
    return {
        "version": VERSION,
        "python": target.version,
        "machine": target.machine,
        "extras": list(target.extras),
        "present": list(target.present),
        "files": {str(path.relative_to(folder)): _fact(path) for path in files},
    }


def _fact(path: Path) -> dict[str, Any]:
    return {"nbytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def write(folder: Path, target: Target) -> dict[str, Any]:
    """Write the manifest into the folder, and return it."""
    found = describe(folder, target)
    (folder / NAME).write_text(json.dumps(found, indent=1) + "\n")
    return found


def nbytes(manifest: dict[str, Any], *, cuda: bool) -> int:
    """Bytes of all files that are CUDA's, or of all others."""
    files: Iterable[tuple[str, dict[str, int]]] = manifest["files"].items()
    return sum(fact["nbytes"] for name, fact in files if is_cuda_library(name) is cuda)
