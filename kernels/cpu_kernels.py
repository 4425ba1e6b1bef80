"""The compiled CPU kernels: one registry entry per row of the compiled table that this CPU can run.

Importing this module registers them. Without the compiled module it warns once, and the references serve; where a
kernel is not compiled for an instruction set, the next best of the list is taken.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np

from dtrain.base.device import CPU
from dtrain.base.dtype import DType, as_dtype, int32, int64
from dtrain.base.errors import expected
from dtrain.base.tensor_type import TensorType
from dtrain.kernels.build_advice import advice_without_module
from dtrain.kernels.build_digest import expect_current
from dtrain.kernels.cpu_convolution import Im2colConvolution
from dtrain.kernels.registry import Attrs, KernelFunction, KernelInfo, register_kernel

Predicate = Callable[[Sequence[TensorType], Attrs], bool]


class CompiledRow(NamedTuple):
    """One line of a kernels.inc, as the compiled table reports it."""

    op: str
    name: str
    isa: str
    dtype: str
    is_supported: bool
    kernel: KernelFunction


# Leading inputs that are scalars of a dtype of their own: lr, and step.
_LEADING_SCALARS = {"sgd_update": 1, "adam_update": 2}

# Integer inputs beside the floating ones: class numbers and pooling indices.
_INDEX_DTYPES = {
    "max_pool2d_backward": (int32,),
    "softmax_cross_entropy": (int32, int64),
    "softmax_cross_entropy_backward": (int32, int64),
    "random_uniform": (int64,),
    "random_normal": (int64,),
    "random_dropout_mask": (int64,),
}

# Their inputs are the state of a stream; what they make is said by the attribute `dtype`.
_DRAWS = ("random_uniform", "random_normal", "random_dropout_mask")


def compiled_rows() -> tuple[CompiledRow, ...]:
    """Every compiled kernel, best first within an op; empty, with a warning, where the module is not built.

    Raises ImportError where it was built from other sources.
    """
    try:
        import dtrain.kernels._cpu as _cpu
    except ImportError as error:
        advice = advice_without_module()
        warnings.warn(expected("dtrain.kernels", "the compiled module _cpu", str(error), advice), stacklevel=2)
        return ()
    expect_current(_cpu, Path(__file__).parent)
    _cpu.set_bfloat16(np.dtype(ml_dtypes.bfloat16).num)
    return tuple(CompiledRow(*row) for row in _cpu.kernel_table())


def takes_dtype(op: str, dtype: DType) -> Predicate:
    """Every input has `dtype`, except the op's leading scalars and the integers that go with floats."""
    first = _LEADING_SCALARS.get(op, 0)
    beside = _INDEX_DTYPES.get(op, ())

    def accepts(types: Sequence[TensorType], attrs: Attrs) -> bool:
        return all(given.dtype is dtype or given.dtype in beside for given in types[first:])

    return accepts


def _makes_dtype(dtype: DType) -> Predicate:
    # A draw for a GPU has its state on the CPU; only the attributes say where the values go.
    return lambda types, attrs: attrs["dtype"] is dtype and attrs.get("device", CPU).is_cpu


def _is_depthwise(types: Sequence[TensorType], attrs: Attrs) -> bool:
    """Each group is one input channel: (x, w), (dy, w) or (dy, x)."""
    groups: int = attrs["groups"]
    if "weight_shape" in attrs:
        return groups > 1 and types[1].shape[1] == groups
    return groups > 1 and types[1].shape[1] == 1


def _is_last_axis(types: Sequence[TensorType], attrs: Attrs) -> bool:
    return types[0].ndim > 0 and attrs["axis"] in (-1, types[0].ndim - 1)


def _has_weight(types: Sequence[TensorType], attrs: Attrs) -> bool:
    """Rows have at least one element."""
    return types[-1].size > 0


def _is_plain_adam(types: Sequence[TensorType], attrs: Attrs) -> bool:
    return "amsgrad" not in attrs


def _is_plain_window(types: Sequence[TensorType], attrs: Attrs) -> bool:
    """Neither dilated, nor sticking out, nor divided by a number of its own."""
    return "dilation" not in attrs and "ceil_mode" not in attrs and "divisor" not in attrs


# The op that compiled kernels serve where their predicate holds, by the op of their row.
_SPECIAL_CASES: dict[str, tuple[str, Predicate]] = {
    "depthwise_conv2d": ("conv2d", _is_depthwise),
    "depthwise_conv2d_backward_data": ("conv2d_backward_data", _is_depthwise),
    "depthwise_conv2d_backward_weights": ("conv2d_backward_weights", _is_depthwise),
    "adam_update": ("adam_update", _is_plain_adam),
    "max_pool2d": ("max_pool2d", _is_plain_window),
    "average_pool2d": ("average_pool2d", _is_plain_window),
    "average_pool2d_backward": ("average_pool2d_backward", _is_plain_window),
    "softmax": ("softmax", _is_last_axis),
    "softmax_backward": ("softmax_backward", _is_last_axis),
    "log_softmax": ("log_softmax", _is_last_axis),
    "log_softmax_backward": ("log_softmax_backward", _is_last_axis),
    "layer_norm": ("layer_norm", _has_weight),
    "layer_norm_backward": ("layer_norm_backward", _has_weight),
}


def both(first: Predicate, second: Predicate) -> Predicate:
    """Two predicates as one."""
    return lambda types, attrs: first(types, attrs) and second(types, attrs)


def _info(op: str, name: str, row: CompiledRow, function: KernelFunction, accepts: Predicate) -> KernelInfo:
    accepts = both(takes_dtype(op, as_dtype(row.dtype)), accepts)
    return KernelInfo(op=op, name=name, isa=row.isa, function=function, accepts=accepts, needs_contiguous=True)


def _always(types: Sequence[TensorType], attrs: Attrs) -> bool:
    return True


def kernels_of_rows(rows: Sequence[CompiledRow]) -> Iterator[KernelInfo]:
    """The registry entries of compiled rows: one each, and convolutions on top of each pair of im2col and col2im."""
    for row in rows:
        op, accepts = _SPECIAL_CASES.get(row.op, (row.op, _always))
        if op in _DRAWS:
            accepts = _makes_dtype(as_dtype(row.dtype))
        yield _info(op, row.name, row, row.kernel, accepts)
    col2im = {(row.isa, row.dtype): row.kernel for row in rows if row.op == "col2im"}
    for row in rows:
        if row.op == "im2col":
            convolution = Im2colConvolution(row.kernel, col2im[row.isa, row.dtype])
            for op in ("conv2d", "conv2d_backward_data", "conv2d_backward_weights"):
                name = f"{op}_{row.dtype}_im2col_{row.isa}"
                yield _info(op, name, row, getattr(convolution, op), _always)


for _found in kernels_of_rows([row for row in compiled_rows() if row.is_supported]):
    register_kernel(_found)
