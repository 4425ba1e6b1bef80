"""The CUDA kernels on a GPU: every row of the table against its reference, bitwise repeats, sizes beyond a grid."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.cuda_cases import ROW_IDS, ROWS, cases_of, check_row, run_on_cuda

from dtrain.kernels.cuda.table import TABLE, CudaRow
from dtrain.kernels.cuda_kernels import row_function

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(("row", "tag"), ROWS, ids=ROW_IDS)
def test_kernel_agrees_with_its_reference(row: CudaRow, tag: str, gpu: str) -> None:
    assert check_row(row, tag) > 3


@pytest.mark.parametrize(("row", "tag"), ROWS, ids=ROW_IDS)
def test_runs_repeat_bitwise(row: CudaRow, tag: str, gpu: str) -> None:
    for case in cases_of(row, tag, np.random.default_rng(11)):
        first = [array.tobytes() for array in run_on_cuda(row, tag, case)]
        for _ in range(3):
            assert [array.tobytes() for array in run_on_cuda(row, tag, case)] == first


def test_more_elements_than_a_full_grid_has_threads(gpu: str) -> None:
    import cupy

    size = 65535 * 256 + 7
    x = cupy.arange(size, dtype="float32")
    row = next(row for row in TABLE if row.op == "rank_order_reduce")
    out = cupy.empty_like(x)
    row_function(row, "f32")(x, x, out=out, op="sum")
    assert bool((out == 2 * x).all())
