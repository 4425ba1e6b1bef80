"""Places of matrices: those on one side of a diagonal, and blocks along it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dtrain.base.device import CPU, DeviceLike
from dtrain.base.dtype import DTypeLike, int64
from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.ops.joining import concat, pad
from dtrain.ops.shape import reshape
from dtrain.opset.infer import as_int


def tril_indices(
    rows: int, columns: int, offset: int = 0, *, dtype: DTypeLike = int64, device: DeviceLike = CPU
) -> Tensor:
    """The places of a matrix on and below a diagonal, row by row: [2, count], row numbers first."""
    return _places("tril_indices", np.tril_indices, rows, columns, offset).to(dtype).to(device)


def triu_indices(
    rows: int, columns: int, offset: int = 0, *, dtype: DTypeLike = int64, device: DeviceLike = CPU
) -> Tensor:
    """The places of a matrix on and above a diagonal, row by row: [2, count], row numbers first."""
    return _places("triu_indices", np.triu_indices, rows, columns, offset).to(dtype).to(device)


def _places(name: str, find: Callable[..., tuple[np.ndarray, ...]], rows: int, columns: int, offset: int) -> Tensor:
    sizes = as_int(name, "rows", rows, 0), as_int(name, "columns", columns, 0)
    return as_tensor(np.stack(find(sizes[0], as_int(name, "offset", offset), sizes[1])).astype(np.int64))


def block_diag(*tensors: Tensor) -> Tensor:
    """The matrices one after another along the diagonal, zeros elsewhere; vectors are rows, numbers matrices of one."""
    blocks = [as_tensor(each) for each in tensors]
    if not blocks or any(block.ndim > 2 for block in blocks):
        given = ", ".join(str(block.type) for block in blocks) or "none"
        raise ShapeError(expected("block_diag", "at least one tensor, of at most 2 axes", given))
    blocks = [block if block.ndim == 2 else reshape(block, (1, -1)) for block in blocks]
    width, left, rows = sum(block.shape[1] for block in blocks), 0, []
    for block in blocks:
        rows.append(pad(block, (left, width - left - block.shape[1])))
        left += block.shape[1]
    return concat(rows, 0)
