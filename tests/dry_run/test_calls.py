"""Every op in every dtype through real CuPy: what it would refuse, and what would land on another GPU."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from dry_run import DryRun
from helpers import on_device
from helpers.device_training import OPTIMIZERS, train
from helpers.op_calls import case_id, float_positions, make_arrays

import dtrain as dt
from dtrain.base.dtype import DType, bfloat16, bool_, float16, float32, float64, int64
from dtrain.core.apply import apply_all
from dtrain.core.tensor import Tensor
from dtrain.graph.op import Op, all_ops

pytestmark = pytest.mark.dry_run

GPU = "cuda:1"  # never the current one
# Ops whose shapes are numbers that a kernel computes, and ops that look at numbers on the host: here are only zeros.
NEEDS_NUMBERS = {op.name for op in all_ops() if op.is_dynamic} | {
    "permutation", "floor_div", "mod", "expect_finite",
}  # fmt: skip


# One of a kind: every kernel is compiled for each. Gradients are f64, indices s32 and s64 where an op wants them.
DTYPES = (float32, float16, bfloat16, int64, bool_)


def _dtypes(op: Op) -> list[DType]:
    return [dtype for dtype in DTYPES if dtype in op.dtypes] or list(op.dtypes)[:1]


def _ops() -> list[Op]:
    return on_device.covered_ops(lambda op: op.name not in NEEDS_NUMBERS)


def _check_places(dry: DryRun, tensors: Sequence[Tensor]) -> None:
    for tensor in tensors:
        assert str(tensor.device) == GPU
        if tensor.size:
            assert dry.device_of(tensor.array) == 1, f"{tensor.type} lies on another GPU"
        assert tensor.array.shape == tensor.type.array_shape and tensor.array.dtype == tensor.type.array_dtype


@pytest.mark.parametrize("op", _ops(), ids=case_id)
def test_every_call_in_every_dtype_is_accepted(op: Op, dry: DryRun) -> None:
    for number in on_device.numbers_of(op):
        for dtype in _dtypes(op):
            tensors = on_device.place(make_arrays(op, number, dtype), GPU)
            _check_places(dry, apply_all(op, tensors, on_device.attrs_on(op, number, GPU)))


@pytest.mark.parametrize(
    "op", on_device.covered_ops(lambda op: on_device.has_gradient(op) and op.name not in NEEDS_NUMBERS), ids=case_id
)
def test_gradients_are_accepted(op: Op, dry: DryRun) -> None:
    for number in on_device.numbers_of(op, with_gradient=True):
        arrays = make_arrays(op, number, float64)
        tensors = on_device.place(arrays, GPU, float_positions(arrays))
        outputs = apply_all(op, tensors, on_device.attrs_on(op, number, GPU))
        total = sum(
            (output.relayout("NCHW").sum() for output in outputs if output.requires_grad),
            start=dt.zeros((), dtype="f64", device=GPU),
        )
        if total.requires_grad:
            total.backward()
            _check_places(dry, [tensor.grad for tensor in tensors if tensor.grad is not None])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
def test_training_steps_are_accepted(optimizer: str, traced: bool, dry: DryRun) -> None:
    _, state = train("small", optimizer, GPU, steps=2, traced=traced)
    assert state and dry.counts()["launches"] > 40
    assert "sgd_update_f32" in dry.launches_by_kernel() or "adam_update_f32" in dry.launches_by_kernel()


def test_what_is_outside_of_ops_stays_on_the_gpu_of_its_tensor(dry: DryRun) -> None:
    x = dt.tensor(np.arange(6, dtype="f4").reshape(2, 3)).to(GPU)
    weight = dt.nn.Parameter(x)
    optimizer = dt.optim.Adam([weight], lr=0.1)
    (weight * weight).sum().backward()
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.01
    optimizer.step()
    _check_places(
        dry,
        [
            dt.tensor(x),
            dt.tensor(x.array, dtype="f64"),
            x.transpose(1, 0).reshape(6),
            x.detach().assign_(dt.ones_like(x)),
            dt.tensor([1.0, 2.0], device=GPU),
            weight,
            weight.grad,
        ],
    )
