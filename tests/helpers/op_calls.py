"""Arrays for the calls of ops, and ways to run an op on arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any
from zlib import crc32

import numpy as np

import dtrain.collectives.ops.collective_ops
import dtrain.ops  # noqa: F401  registers all others
from dtrain.autograd.backward_pass import grad
from dtrain.base.dtype import DType, from_numpy
from dtrain.core.apply import apply_all
from dtrain.core.tensor import Tensor, wrap
from dtrain.graph.calls import calls_of
from dtrain.graph.op import Op, all_ops
from dtrain.kernels.call import Call

Arrays = list[np.ndarray]

# Ops that cannot have calls, each with the reason.
WITHOUT_CALLS = {"constant": "its array is an attribute; tests/graph covers it"}


def op_cases(select: Callable[[Op], bool] = lambda op: True) -> Iterator[tuple[Op, int]]:
    """(op, number of a call) of every registered op that `select` admits."""
    for op in all_ops():
        if select(op):
            for number in range(len(calls_of(op))):
                yield op, number


def case_id(value: Any) -> str:
    """How pytest shows a parameter."""
    if isinstance(value, Op):
        return value.name
    return value.tag if isinstance(value, DType) else str(value)


def call_of(op: Op, number: int) -> Call:
    return calls_of(op)[number]


def make_arrays(op: Op, number: int, dtype: DType) -> Arrays:
    """The inputs of a call in `dtype`; their numbers depend on the op and the call only."""
    return call_of(op, number).make_inputs(dtype.numpy, seed=crc32(f"{op.name}/{number}".encode()))


def run(op: Op, number: int, arrays: Sequence[np.ndarray]) -> Arrays:
    """The outputs of the op on copies of these arrays, through the one door."""
    outputs = apply_all(op, [wrap(array.copy()) for array in arrays], call_of(op, number).attrs)
    return [tensor.numpy() for tensor in outputs]


def has_gradient(op: Op, number: int) -> bool:
    """Whether the numeric gradient of the call says what the op's rule says."""
    return op.grad is not None and "no gradient" not in call_of(op, number).tags


def float_positions(arrays: Sequence[np.ndarray]) -> list[int]:
    """Which inputs can have a gradient."""
    return [i for i, array in enumerate(arrays) if from_numpy(array.dtype).is_floating]


def random_like(arrays: Sequence[np.ndarray], seed: int) -> Arrays:
    """Standard normal numbers in the shapes and dtypes of `arrays`."""
    random = np.random.default_rng(seed)
    return [random.standard_normal(array.shape).astype(array.dtype) for array in arrays]


def weighted_sum(outputs: Sequence[Tensor], weights: Sequence[np.ndarray]) -> Tensor | None:
    """Σ weights · outputs over those that have a history: one scalar to differentiate."""
    total: Tensor | None = None
    for output, weight in zip(outputs, weights):
        if output.requires_grad:
            term = (output.relayout("NCHW") * wrap(weight.astype(output.dtype.numpy))).sum()
            total = term if total is None else total + term
    return total


def input_gradients(
    op: Op, number: int, tensors: Sequence[Tensor], weights: Sequence[np.ndarray], *, create_graph: bool = False
) -> list[Tensor | None]:
    """d(Σ weights · outputs) / d(input) for each input that requires gradients; None where nothing flows."""
    total = weighted_sum(apply_all(op, list(tensors), call_of(op, number).attrs), weights)
    wanted = [tensor for tensor in tensors if tensor.requires_grad]
    if total is None:
        return [None] * len(wanted)
    return list(grad(total, wanted, allow_unused=True, create_graph=create_graph))


def leaves(arrays: Sequence[np.ndarray], positions: Sequence[int]) -> list[Tensor]:
    """Tensors on copies of the arrays; those at `positions` require gradients."""
    tensors = [wrap(array.copy()) for array in arrays]
    for position in positions:
        tensors[position].requires_grad_()
    return tensors
