"""Whether the compiled module was made of the sources that lie here: a table of other kernels would fail strangely.

CMakeLists.txt writes the same digest into the module. A change there needs one here.
"""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Any

from dtrain.base.errors import expected
from dtrain.base.version import VERSION

_PATTERNS = ("cpu/*/kernels.inc", "cpu/*/bind.cpp", "cpu/binding/*.cpp", "cpu/binding/*.h")
_COMMAND = "make install, or pip install -e . in the tree (pip install . where no tree is worked on)"


def table_digest(folder: Path) -> str | None:
    """The digest of what the table of kernels depends on, below `folder`; None where the sources are not installed."""
    names = sorted(path.relative_to(folder).as_posix() for pattern in _PATTERNS for path in folder.glob(pattern))
    lines = [f"{name} {sha256((folder / name).read_bytes()).hexdigest()}\n" for name in names]
    return sha256("".join(lines).encode()).hexdigest() if lines else None


def expect_current(module: Any, folder: Path) -> None:
    """Compare the compiled module with the sources below `folder`, or with our version where there are none.

    Raises:
        ImportError: it was compiled from others, or of another version.
    """
    wanted = table_digest(folder)
    if wanted is None:
        found, wanted, what = getattr(module, "version", "none"), VERSION, "of version"
    else:
        found, what = getattr(module, "table_digest", "none"), "compiled from the sources with the digest"
        found, wanted = found[:12], wanted[:12]
    if found != wanted:
        given = f"{module.__file__} with {found}"
        advice = f"it is from another time than the Python files: run {_COMMAND}"
        raise ImportError(expected("dtrain.kernels", f"a compiled module {what} {wanted}", given, advice))
