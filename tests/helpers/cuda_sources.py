"""The CUDA sources, and the functions that the table of kernels expects in them."""

from __future__ import annotations

from collections.abc import Iterator

from dtrain.kernels.cuda import formulas
from dtrain.kernels.cuda.module import FOLDER
from dtrain.kernels.cuda.table import TABLE


def source_files() -> tuple[str, ...]:
    """The names of all CUDA sources, headers left out; those of formulas are written, not read."""
    return tuple(sorted((*formulas.FILES, *(path.name for path in FOLDER.glob("*.cu")))))


def functions_of(file: str) -> Iterator[str]:
    """Every function that the table expects in this source, each once."""
    names = {
        name: None for row in TABLE if row.file == file for tag in row.dtypes for name in row.functions(tag).values()
    }
    yield from names
