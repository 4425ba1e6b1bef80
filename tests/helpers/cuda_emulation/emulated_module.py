"""CUDA sources compiled as host C++ against `emulation.h`, with the calling convention of `cupy.RawModule`."""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent
COMPILER = shutil.which("g++") or shutil.which("c++")
FLAGS = ("-std=c++17", "-O1", "-fPIC", "-shared", "-ffp-contract=off", "-fno-strict-aliasing", "-w")
STATUS = {
    1: "threads of a block did not meet at a barrier",
    2: "a wrong number of arguments",
    3: "an argument of the wrong size or kind",
}
# The limits that every supported GPU has.
MAX_GRID = 2**31 - 1
MAX_BLOCK = 1024

# The fibers of a block live in static memory, and ranks may be threads.
_one_at_a_time = threading.Lock()

order = {"is_reversed": False}  # in which order the threads of a block run between barriers


class Argument(ctypes.Structure):
    _fields_ = (("value", ctypes.c_void_p), ("size", ctypes.c_int), ("kind", ctypes.c_int))


class EmulatedModule:
    """Stands in for `cupy.RawModule(code=..., options=..., backend=...)`."""

    def __init__(self, *, code: str, options: tuple[str, ...] = (), backend: str = "nvrtc") -> None:
        self.code = code
        self._library = None

    def compile(self) -> None:
        self._library = compiled(self.code)

    def get_function(self, name: str) -> EmulatedFunction:
        self.compile()
        return EmulatedFunction(name, self._library[f"emulate_{name}"])


class EmulatedFunction:
    """One kernel: call it with (grid, block, arguments)."""

    def __init__(self, name: str, function: Any) -> None:
        self.name = name
        self.function = function

    def __call__(self, grid: tuple[int, ...], block: tuple[int, ...], arguments: Sequence[Any]) -> None:
        assert 1 <= grid[0] <= MAX_GRID and len(grid) == 1, f"{self.name}: grid {grid}"
        assert 1 <= block[0] <= MAX_BLOCK and len(block) == 1, f"{self.name}: block {block}"
        values = [_as_c(argument) for argument in arguments]
        described = (Argument * len(values))(
            *(Argument(ctypes.addressof(value), ctypes.sizeof(value), kind) for value, kind in values)
        )
        with _one_at_a_time:
            status = self.function(grid[0], block[0], described, len(values), int(order["is_reversed"]))
        assert status == 0, f"{self.name}: {STATUS[status]}"


def _as_c(argument: Any) -> tuple[Any, int]:
    """The argument as CuPy passes it, and its kind: 0 pointer, 1 integer, 2 floating."""
    if hasattr(argument, "data") and hasattr(argument.data, "ptr"):
        return ctypes.c_void_p(argument.data.ptr), 0
    assert isinstance(argument, np.generic), f"an argument CuPy would guess the type of: {argument!r}"
    kind = 2 if argument.dtype.kind == "f" else 1
    return np.ctypeslib.as_ctypes_type(argument.dtype)(argument.item()), kind


@cache
def compiled(source: str) -> ctypes.CDLL:
    """The source as a host library, all its kernels callable."""
    assert COMPILER is not None
    key = hashlib.sha256(source.encode()).hexdigest()[:16]
    folder = Path(tempfile.mkdtemp(prefix="dtrain-cuda-emulation-"))
    try:
        text, library = folder / f"{key}.cpp", folder / f"{key}.so"
        entries = "\n".join(f"EMULATE({name})" for name in kernel_names(source))
        text.write_text(f'#include "emulation.h"\n{source}\n{entries}\n')
        command = [COMPILER, *FLAGS, f"-I{FOLDER}", "-o", str(library), str(text)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return ctypes.CDLL(str(library))
    finally:
        shutil.rmtree(folder)


def kernel_names(source: str) -> list[str]:
    """The kernels of a source, as the table names them."""
    from helpers.cuda_sources import functions_of, source_files

    from dtrain.kernels.cuda.module import source_of

    return [name for file in source_files() if source_of(file) == source for name in functions_of(file)]
