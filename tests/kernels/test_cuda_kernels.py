"""The CUDA kernels against the references, run on the host by the emulation, their launch code included."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from helpers.cuda_cases import FURTHER, ROW_IDS, ROWS, cases_of, check_row, run_on_cuda
from helpers.cuda_emulation import emulated_module
from helpers.cuda_emulation.emulated_cupy import emulated_cuda

from dtrain.base.device import as_device
from dtrain.base.dtype import int16
from dtrain.base.errors import DtypeError, ShapeError
from dtrain.base.tensor_type import TensorType, tensor_type
from dtrain.kernels import Candidate, Problem, choose, kernels_of, using
from dtrain.kernels.cuda import launch
from dtrain.kernels.cuda.range_flag import raise_found
from dtrain.kernels.cuda.table import TABLE, CudaRow
from dtrain.kernels.cuda_kernels import row_function
from dtrain.kernels.registry import signature_of
from dtrain.kernels.signature import element_dtype

pytestmark = pytest.mark.emulation


@pytest.fixture(scope="module")
def cupy() -> Iterator[ModuleType]:
    if emulated_module.COMPILER is None:
        pytest.skip("no host C++ compiler to run the CUDA sources with")
    with emulated_cuda() as module:
        yield module


def _row(op: str) -> CudaRow:
    return next(row for row in TABLE if row.op == op)


@pytest.mark.parametrize(("row", "tag"), ROWS, ids=ROW_IDS)
def test_every_row_has_calls_that_fill_more_than_a_block(row: CudaRow, tag: str) -> None:
    calls = cases_of(row, tag, np.random.default_rng(7))
    sizes = {array.size for call in calls for array in call.inputs}
    assert any(size > launch.BLOCK_SIZE and size % 32 for size in sizes), f"add calls of {row.op}"
    assert set(FURTHER) <= {row.op for row in TABLE}


@pytest.mark.parametrize(("row", "tag"), ROWS, ids=ROW_IDS)
def test_kernel_agrees_with_its_reference(row: CudaRow, tag: str, cupy: ModuleType) -> None:
    assert check_row(row, tag) > 3


@pytest.mark.parametrize(("row", "tag"), ROWS, ids=ROW_IDS)
def test_result_depends_on_no_order_of_threads_or_grid(
    row: CudaRow, tag: str, cupy: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Falling thread order finds missing barriers, three blocks where thousands were wanted find wrong strides."""
    cases = cases_of(row, tag, np.random.default_rng(3))[-6:]
    usual = [run_on_cuda(row, tag, case) for case in cases]
    monkeypatch.setitem(emulated_module.order, "is_reversed", True)
    monkeypatch.setattr(launch, "MAX_BLOCKS", 3)
    for case, wanted in zip(cases, usual):
        for mine, right in zip(run_on_cuda(row, tag, case), wanted):
            assert mine.tobytes() == right.tobytes(), case.attrs


def test_rank_order_sums_are_bitwise_those_of_the_rule(cupy: ModuleType) -> None:
    arrays = [np.random.default_rng(r).normal(size=1000).astype(np.float32) for r in range(7)]
    total = arrays[0].copy()
    for array in arrays[1:]:
        total += array
    out = cupy.empty(1000, np.float32)
    row_function(_row("rank_order_reduce"), "f32")(*map(cupy.asarray, arrays), out=out, op="sum")
    np.testing.assert_array_equal(out.get(), total)


def test_bad_target_is_named(cupy: ModuleType) -> None:
    logits, targets = cupy.zeros((4, 3), np.float32), cupy.asarray(np.array([0, 7, 1, -1]))
    out = (cupy.empty(4, np.float32), cupy.empty((4, 3), np.float32))
    row_function(_row("softmax_cross_entropy"), "f32")(logits, targets, out=out, label_smoothing=0.0)
    assert np.isnan(out[0].get()).tolist() == [False, True, False, True]
    with pytest.raises(ValueError, match=r"expected targets from 0 to 2, got (7|-1); check the labels"):
        raise_found()
    raise_found()  # said once


def test_arrays_with_gaps_and_wrong_outputs_are_refused(cupy: ModuleType) -> None:
    kernel = row_function(_row("rank_order_reduce"), "f32")
    x = cupy.zeros((4, 4), np.float32)
    with pytest.raises(ShapeError, match="C-contiguous"):
        kernel(x.T[::2], out=x[:2], op="sum")
    with pytest.raises(DtypeError, match="an output of float32, got float64"):
        kernel(x, out=cupy.zeros((4, 4), np.float64), op="sum")
    with pytest.raises(ValueError, match="one of sum, mean"):
        kernel(x, out=x, op="median")


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 65535 * 256, 65535 * 256 + 1, 2**40])
def test_grids_stay_within_the_limits(size: int) -> None:
    (blocks,) = launch.grid_for(size)
    assert 1 <= blocks <= 65535
    assert blocks == 65535 or blocks * launch.BLOCK_SIZE >= size


@pytest.mark.parametrize("batch", [65535, 65536])
def test_more_rows_than_a_grid_axis_holds(batch: int, cupy: ModuleType) -> None:
    """A row a block: beyond 65535 rows the blocks must walk on."""
    probabilities = cupy.zeros((batch, 1), np.float32)
    grad, targets = cupy.ones(batch, np.float32), cupy.zeros(batch, np.int64)
    row_function(_row("softmax_cross_entropy_backward"), "f32")(
        grad, probabilities, targets, out=probabilities, label_smoothing=0.0
    )
    np.testing.assert_array_equal(probabilities.get(), np.full((batch, 1), -1, np.float32))
    assert launch.grid_for(batch, 1) == (65535,)


def test_predicates_follow_the_roles() -> None:
    def takes(op: str, tag: str, *tags: str) -> bool:
        problem = Problem(op, [tensor_type((), element_dtype(tag)) for tag in tags], [])
        return signature_of(op).takes(tag)(problem) is None

    assert takes("batch_norm_normalize", "f16_f32", "f16", "f32", "f32", "f32", "f32")
    assert not takes("batch_norm_normalize", "f16_f32", "f16", "f32", "f32", "f16", "f16")
    assert not takes("batch_norm_normalize", "f16_f32", "f16", "f32", "f32", "f32")
    assert takes("rank_order_reduce", "f32", "f32", "f32", "f32")
    assert not takes("rank_order_reduce", "f32", "f32", "f64")
    assert takes("sgd_update", "bf16", "f64", "bf16", "bf16")
    assert not takes("sgd_update", "bf16", "bf16", "bf16", "bf16")


def _chosen(*types: TensorType) -> Candidate:
    return choose(Problem("rank_order_reduce", types, types[:1]))


def test_the_device_of_the_inputs_chooses_the_kernel() -> None:
    on_gpu = [tensor_type((4,), element_dtype("f32"), device=as_device("cuda:0"))] * 2
    on_cpu = [tensor_type((4,), element_dtype("f32"))] * 2
    assert _chosen(*on_gpu).name == "rank_order_reduce_f32_cuda"
    assert _chosen(*on_cpu).device_kind == "cpu"
    assert _chosen(tensor_type((4,), int16, device=as_device("cuda:0"))).is_reference
    with using(isa="scalar"):
        assert _chosen(*on_gpu).isa == "cuda"
    with using(isa="reference"):
        assert _chosen(*on_gpu).is_reference


def test_cpu_kernels_are_listed_without_those_of_the_gpu() -> None:
    assert {candidate.isa for candidate in kernels_of("sgd_update", device_kind="cuda")} == {"cuda", "reference"}
    assert "cuda" not in {candidate.isa for candidate in kernels_of("sgd_update")}
