"""The calls that ops list of themselves, by what they are for, and the problems that these pose to kernels."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from dtrain.base.device import CPU, Device
from dtrain.base.dtype import DType
from dtrain.graph.inference import infer_types
from dtrain.graph.op import Op, get_op
from dtrain.kernels.call import Call
from dtrain.kernels.problem import Problem


@cache
def _listed(op: Op) -> tuple[Call, ...]:
    return tuple(replace(call, op=op.name) for call in (op.calls() if op.calls is not None else ()))


def calls_of(op: Op) -> tuple[Call, ...]:
    """What tests try of the op: all of its calls but the large ones."""
    return tuple(call for call in _listed(op) if "large" not in call.tags)


def large_calls_of(op: Op) -> tuple[Call, ...]:
    """What a benchmark times of the op."""
    return tuple(call for call in _listed(op) if "large" in call.tags)


def problem_of(call: Call, dtype: DType, device: Device = CPU) -> Problem:
    """What a kernel is chosen for; outputs that the call does not name are those that its op infers.

    Raises:
        KeyError: a call without outputs whose op is not registered.
        ShapeError, DtypeError: what the inference of the op refuses.
    """
    problem = call.problem(dtype, device)
    if call.outputs is not None:
        return problem
    outputs = infer_types(get_op(call.op), problem.inputs, call.attrs)
    return Problem(call.op, problem.inputs, outputs, call.attrs)
