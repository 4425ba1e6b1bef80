"""The calls of ops on another device against the CPU: outputs, gradients, and the traced form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from helpers import op_calls as calls
from helpers.op_calls import call_of, make_arrays
from helpers.tolerance import assert_close

from dtrain.base.device import CPU, as_device
from dtrain.base.dtype import DType, float64, from_numpy
from dtrain.capture.trace import trace
from dtrain.core.apply import apply_all
from dtrain.core.tensor import Tensor, wrap
from dtrain.graph.calls import calls_of
from dtrain.graph.op import Op, all_ops
from dtrain.ops.cast import copy

# Ops that do not run on any one device, each with the reason.
EXCLUDED = {"to_device": "has one device for its input and another for its output; tested by every copy made here"}


def covered_ops(select: Callable[[Op], bool] = lambda op: True) -> list[Op]:
    """Ops to run on a device. Collectives need a communicator of GPUs there: tests/gpu runs the contract of NCCL's."""
    return [
        op for op in all_ops() if not op.is_collective and op.name not in EXCLUDED and numbers_of(op) and select(op)
    ]


def has_gradient(op: Op) -> bool:
    """Whether any of its calls is differentiated."""
    return op.grad is not None and bool(numbers_of(op, with_gradient=True))


def numbers_of(op: Op, *, with_gradient: bool = False) -> list[int]:
    """The op's calls, or those of them that have a numeric gradient."""
    return [n for n, call in enumerate(calls_of(op)) if not (with_gradient and "no gradient" in call.tags)]


def attrs_on(op: Op, number: int, device: str) -> dict[str, Any]:
    """The call's attributes, with outputs asked for on `device`."""
    attrs = dict(call_of(op, number).attrs)
    if attrs.get("device") is CPU:
        attrs["device"] = as_device(device)
    return attrs


def place(arrays: Sequence[np.ndarray], device: str, positions: Sequence[int] = ()) -> list[Tensor]:
    """Tensors on `device`; those at `positions` are leaves that require gradients."""
    tensors = [wrap(array.copy()).to(device).detach() for array in arrays]
    for position in positions:
        tensors[position].requires_grad_()
    return tensors


def _compare(got: Sequence[Tensor], wanted: Sequence[Tensor], device: str, inputs: Sequence[np.ndarray]) -> None:
    assert len(got) == len(wanted)
    length = max([16, *(array.size for array in inputs)])
    for mine, right in zip(got, wanted):
        assert mine.device is as_device(device)
        assert mine.type.with_(device=CPU) is right.type
        numbers = right.numpy()
        wide = numbers.astype(np.float64) if right.dtype.is_floating else np.zeros(0)
        finite = np.abs(wide[np.isfinite(wide)])
        assert_close(mine.numpy(), numbers, length=length, magnitude=max(1.0, float(finite.max(initial=0.0))))


def check_outputs(op: Op, number: int, dtype: DType, device: str) -> None:
    """Outputs have the same types, but for the device, and the same values as on the CPU."""
    arrays = make_arrays(op, number, dtype)
    wanted = apply_all(op, place(arrays, "cpu"), attrs_on(op, number, "cpu"))
    got = apply_all(op, place(arrays, device), attrs_on(op, number, device))
    _compare(got, wanted, device, arrays)


def check_traced(op: Op, number: int, dtype: DType, device: str) -> None:
    """The traced op gives what the eager one gives on the same device, on the first run and on the next."""
    arrays = make_arrays(op, number, dtype)
    attrs = attrs_on(op, number, device)
    wanted = [output.to("cpu") for output in apply_all(op, place(arrays, device), attrs)]

    @trace
    def function(*inputs: Tensor) -> list[Tensor]:
        # Of copies, so that no input is handed out again.
        return [copy(output) for output in apply_all(op, [copy(tensor) for tensor in inputs], attrs)]

    for _ in range(2):
        _compare(function(*place(arrays, device)), wanted, device, arrays)


def check_gradients(op: Op, number: int, device: str) -> None:
    """Gradients in f64 are those of the CPU."""
    arrays = make_arrays(op, number, float64)
    positions = calls.float_positions(arrays)
    outputs = [output.numpy() for output in apply_all(op, place(arrays, "cpu"), attrs_on(op, number, "cpu"))]
    random = np.random.default_rng(5)
    weights = [random.standard_normal(output.shape) for output in outputs]
    wanted = _gradients(op, number, arrays, positions, weights, "cpu")
    got = _gradients(op, number, arrays, positions, weights, device)
    assert [gradient is None for gradient in got] == [gradient is None for gradient in wanted]
    pairs = [(mine, right) for mine, right in zip(got, wanted) if mine is not None and right is not None]
    _compare([mine for mine, _ in pairs], [right for _, right in pairs], device, arrays)


def _gradients(
    op: Op, number: int, arrays: Sequence[np.ndarray], positions: Sequence[int], weights: Sequence[Any], device: str
) -> list[Tensor | None]:
    from dtrain.autograd.backward_pass import grad

    tensors = place(arrays, device, positions)
    total: Tensor | None = None
    for output, weight in zip(apply_all(op, tensors, attrs_on(op, number, device)), weights):
        if output.requires_grad and from_numpy(weight.dtype).is_floating:
            term = (output.relayout("NCHW") * wrap(weight.astype(output.dtype.numpy)).to(device)).sum()
            total = term if total is None else total + term
    leaves = [tensor for tensor in tensors if tensor.requires_grad]
    return [None] * len(leaves) if total is None else list(grad(total, leaves, allow_unused=True))
