"""From a `.cu` file to functions on the current device: read, compile on first use, keep.

CuPy compiles with NVRTC for the very GPU and caches the result on disk. Its cache does not see through `#include`, so
the few headers are pasted in before: a change of any of them is a new key, and no include path is needed.
"""

from __future__ import annotations

import hashlib
import os
import sys
from functools import cache
from pathlib import Path
from typing import Any

from dtrain.kernels.cuda import formulas

FOLDER = Path(__file__).parent

# What is written is what is computed: products and sums are rounded one by one, as in the references.
OPTIONS = ("-std=c++17", "--fmad=false")

_INCLUDE = '#include "'


@cache
def source_of(file: str) -> str:
    """The text of one source with its headers pasted in, each once; compiler messages name the original lines."""
    return "\n".join(_lines(file, set())) + "\n"


def _lines(file: str, seen: set[str]) -> list[str]:
    seen.add(file)
    lines = [f'#line 1 "{file}"']
    for number, line in enumerate(_text_of(file).splitlines(), start=1):
        if line.startswith(_INCLUDE):
            header = line[len(_INCLUDE) : line.index('"', len(_INCLUDE))]
            if header not in seen:
                lines += _lines(header, seen)
            lines.append(f'#line {number + 1} "{file}"')
        elif line != "#pragma once":
            lines.append(line)
    return lines


def _text_of(file: str) -> str:
    return formulas.source_text(file) if file in formulas.FILES else (FOLDER / file).read_text(encoding="utf-8")


@cache
def function_of(file: str, name: str) -> Any:
    """The kernel `name` of `file`: call it with (grid, block, arguments). CuPy loads it on each device that runs it."""
    return _module_of(file).get_function(name)


@cache
def _module_of(file: str) -> Any:
    import cupy

    source = source_of(file)
    module = cupy.RawModule(code=source, options=OPTIONS, backend="nvrtc")
    architecture = f"sm_{cupy.cuda.Device().compute_capability}"
    marker = _marker(source, architecture)
    if not marker.exists():
        print(
            f"dtrain: compiling {file} for {architecture} (once; kept in {marker.parent})", file=sys.stderr, flush=True
        )
    module.compile()
    _leave(marker)
    return module


def forget_modules() -> None:
    """Drop what was compiled in this process."""
    function_of.cache_clear()
    _module_of.cache_clear()


def _marker(source: str, architecture: str) -> Path:
    """An empty file beside CuPy's cached binaries, which says that this text was compiled for this GPU before."""
    folder = os.environ.get("CUPY_CACHE_DIR") or os.path.expanduser("~/.cupy/kernel_cache")
    key = hashlib.sha256(f"{source}{OPTIONS}{architecture}".encode()).hexdigest()[:24]
    return Path(folder) / f"dtrain-{key}.compiled"


def _leave(marker: Path) -> None:
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    except OSError:
        return  # a read-only cache costs only a second notice
