"""Whether a compiled module was made of the sources that lie here: one from another time would fail strangely.

CMakeLists.txt of the root writes the same digest into each module (`dtrain_build_digest`); it changes with this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from dtrain.base.errors import expected
from dtrain.base.version import VERSION

# What the table of kernels depends on. How a kernel computes is no part of it.
KERNEL_SOURCES = ("cpu/*/kernels.inc", "cpu/*/bind.cpp", "cpu/binding/*.cpp", "cpu/binding/*.h", "formula/*.py")
_COMMAND = "make install, or pip install -e . in the tree (pip install . where no tree is worked on)"


def source_digest(folder: Path, patterns: Sequence[str] = KERNEL_SOURCES) -> str | None:
    """The digest of the files below `folder` that match; None where sources are not installed."""
    names = sorted(path.relative_to(folder).as_posix() for pattern in patterns for path in folder.glob(pattern))
    lines = [f"{name} {sha256((folder / name).read_bytes()).hexdigest()}\n" for name in names]
    return sha256("".join(lines).encode()).hexdigest() if lines else None


def expect_current(module: Any, folder: Path, patterns: Sequence[str] = KERNEL_SOURCES) -> None:
    """Compare a compiled module with its sources below `folder`, or with our version where there are none.

    Raises:
        ImportError: it was compiled from others, or of another version.
    """
    wanted = source_digest(folder, patterns)
    if wanted is None:
        found, wanted, what = getattr(module, "version", "none"), VERSION, "of version"
    else:
        found, what = getattr(module, "source_digest", "none"), "compiled from the sources with the digest"
        found, wanted = found[:12], wanted[:12]
    if found != wanted:
        given = f"{module.__file__} with {found}"
        advice = f"it is from another time than the Python files: run {_COMMAND}"
        raise ImportError(expected("dtrain", f"a compiled module {what} {wanted}", given, advice))
