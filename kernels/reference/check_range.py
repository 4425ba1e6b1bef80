"""Index values that an op promised to check: at once on the host, without waiting on a GPU.

On a GPU a kernel leaves the first bad value in a flag, which is read whenever numbers come to the host anyway: an error
then says which op found what. Results that were computed with it meanwhile are wrong but harmless: CuPy wraps indices.
"""

from __future__ import annotations

import numpy as np

from dtrain.base.device import as_device
from dtrain.base.dtype import from_numpy, int32, int64
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import tensor_type
from dtrain.kernels.array_module import Array
from dtrain.kernels.choice import choose
from dtrain.kernels.problem import Problem
from dtrain.kernels.registry import reference


@reference("range_check", inputs="T N")
def range_check(index: Array, flag: Array, out: Array, *, low: int, high: int, number: int) -> None:
    """out = flag[2], or [number, value] of an index value outside of [low, high) where flag[0] is 0.

    `out` may be `flag`.
    """
    if out is not flag:
        out[...] = flag
    bad = index[(index < low) | (index >= high)]
    if bad.size and not out[0]:
        out[0], out[1] = number, bad.reshape(-1)[0]


def check_range(
    op: str,
    index: Array,
    low: int,
    high: int,
    *,
    wanted: str = "",
    advice: str = "check the index",
    error: type[Exception] = ShapeError,
) -> None:
    """Raise `error` unless all of `index` lies in [low, high): now, or when a GPU is next waited for."""
    if index.size == 0:
        return
    wanted = wanted or f"index values in [{low}, {high})"
    if isinstance(index, np.ndarray):
        smallest, largest = int(index.min()), int(index.max())
        if smallest < low or largest >= high:
            raise error(expected(op, wanted, str(smallest if smallest < low else largest), advice))
        return
    check_range_later(op, index, low, high, wanted=wanted, advice=advice, error=error)


def check_range_later(
    op: str, index: Array, low: int, high: int, *, wanted: str, advice: str, error: type[Exception]
) -> None:
    """The half of `check_range` for indices on a GPU; its kernel is not waited for."""
    from dtrain.kernels.cuda.range_flag import flag_for

    dtype = from_numpy(index.dtype)
    if dtype not in (int32, int64):
        index, dtype = index.astype(np.int64), int64
    flag, number = flag_for(op, wanted, advice, error)
    index = index if index.flags.c_contiguous else index.copy(order="C")
    device = as_device(f"cuda:{index.device.id}")
    indices, state = tensor_type((1,), dtype, device=device), tensor_type((2,), int64, device=device)
    kernel = choose(Problem("range_check", [indices, state], [state]))
    kernel.function(index, flag, out=flag, low=low, high=high, number=number)
