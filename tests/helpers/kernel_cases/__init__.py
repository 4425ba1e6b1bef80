"""What kernels are tried with: the calls that the op lists, and further ones that only a compiled kernel can get wrong.

Further ones are sizes around the width of a vector, special values, and all there is for kernels that are no op.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache

import numpy as np
from helpers.kernel_cases import (
    activation_cases,
    batch_norm_cases,
    convolution_cases,
    layout_cases,
    loss_cases,
    optimizer_cases,
    pooling_cases,
    random_cases,
    rank_order_cases,
    reduction_cases,
    row_cases,
)
from helpers.kernel_cases.case import CaseSource, call

import dtrain.ops  # noqa: F401  registers what is listed
from dtrain.graph.calls import calls_of
from dtrain.graph.op import all_ops
from dtrain.kernels import all_kernels
from dtrain.kernels.call import Call

FURTHER: dict[str, CaseSource] = {
    **convolution_cases.CASES,
    **pooling_cases.CASES,
    **layout_cases.CASES,
    **batch_norm_cases.CASES,
    **loss_cases.CASES,
    **optimizer_cases.CASES,
    **rank_order_cases.CASES,
    **activation_cases.CASES,
    **row_cases.CASES,
    **reduction_cases.CASES,
    **random_cases.CASES,
}

OPS = sorted(
    {
        *FURTHER,
        *(candidate.op for candidate in all_kernels() if not candidate.is_reference and candidate.device_kind == "cpu"),
    }
)

_BY_NAME = {op.name: op for op in all_ops()}


@cache
def calls_of_op(op: str) -> tuple[Call, ...]:
    """Those that the op lists for all tests. As many terms may be added as an input has elements."""
    listed = calls_of(_BY_NAME[op]) if op in _BY_NAME else ()
    return tuple(replace(each, length=max(map(_size, each.inputs), default=1), magnitude=0.0) for each in listed)


def _size(given: object) -> int:
    return int(np.prod(getattr(given, "shape", given)))


@cache
def further_calls(op: str) -> tuple[Call, ...]:
    """Those beside the op's own."""
    return tuple(replace(each, op=op) for each in (FURTHER[op]() if op in FURTHER else ()))


def all_calls(op: str) -> Iterator[Call]:
    """What every kernel of `op` is tried with."""
    yield from calls_of_op(op)
    yield from further_calls(op)


__all__ = ["OPS", "all_calls", "call", "calls_of_op", "further_calls"]
