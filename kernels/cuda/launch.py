"""How each CUDA kernel is started: sizes from arrays, a grid within the limits, arguments in the order of the source.

A launch rule gets the kernel functions of its row, the input arrays, `out` and the attributes, with the `workspace`
among them that its row asks for. Every grid has one axis and at most MAX_BLOCKS blocks; the kernels stride over what is
left, so no size is too large for a launch, and empty arrays start nothing. Argument types are spelled out as NumPy
scalars because CuPy passes them as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.kernels.array_module import Array
from dtrain.kernels.cuda.range_flag import flag_for
from dtrain.kernels.cuda.tables import built_table, device_table
from dtrain.kernels.problem import Problem
from dtrain.kernels.signature import accumulation_dtype

Functions = Mapping[str, Callable[..., None]]  # by name without the dtype tag
Outputs = Any  # one array, or a sequence of arrays
LaunchRule = Callable[[Functions, Sequence[Array], Outputs, Mapping[str, Any]], None]

BLOCK_SIZE = 256
# The limit of grid.y and grid.z on every GPU, and more blocks than any GPU runs at once.
MAX_BLOCKS = 65535

# Elements of a channel that one block sums; fixed, so that the same shape sums in the same order on every GPU.
ELEMENTS_PER_SPLIT = 4096
MAX_SPLITS = 64

# Elements of one chunk of an optimizer update.
CHUNK_SIZE = 8192

BAD_TARGET = "check the labels (ignore_index= leaves some out), and the size of the last layer"

REDUCTIONS = {"sum": 0, "mean": 1, "prod": 2, "min": 3, "max": 4, "weighted": 5}


def grid_for(size: int, per_block: int = BLOCK_SIZE) -> tuple[int]:
    """Blocks for `size` elements or jobs, at most MAX_BLOCKS."""
    return (max(1, min(-(-size // per_block), MAX_BLOCKS)),)


def splits_for(elements: int) -> int:
    """Into how many parts the elements of one channel are cut."""
    return max(1, min(elements // ELEMENTS_PER_SPLIT, MAX_SPLITS))


def address(array: Array) -> int:
    """Where the array begins in GPU memory. Raises ShapeError for one with gaps, which no kernel here can walk."""
    if not array.flags.c_contiguous:
        given = f"strides {array.strides} of shape {array.shape}"
        raise ShapeError(expected("CUDA kernel", "C-contiguous arrays", given, "copy the array first"))
    return int(array.data.ptr)


def _checked(out: Array, dtype: np.dtype) -> Array:
    address(out)
    if out.dtype != dtype:
        raise DtypeError(expected("CUDA kernel", f"an output of {dtype}", str(out.dtype)))
    return out


def _planes(x: Array) -> tuple[np.int64, np.int64, np.int64]:
    """(N, C, S) of x[N,C,...]."""
    return np.int64(x.shape[0]), np.int64(x.shape[1]), np.int64(prod(x.shape[2:]))


def _is_f64(scalar: Array) -> np.int32:
    flag: np.int32 = np.int32(scalar.dtype == np.float64)
    return flag


def _empty(size: int, dtype: np.dtype) -> Array:
    import cupy

    return cupy.empty(size, dtype)


def launch_rank_order_reduce(
    functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]
) -> None:
    """rank_order_reduce(*arrays, out, *, op, weights).

    `weights` (of op "weighted") are numbers, or an f64 array on the GPU, which the host need not know.
    """
    op = attrs["op"]
    if op not in REDUCTIONS:
        raise ValueError(expected("rank_order_reduce", "op one of " + ", ".join(REDUCTIONS), repr(op)))
    if out.size == 0:
        return
    addresses = device_table(tuple(address(array) for array in inputs))
    weights = _weights(attrs.get("weights", ()), len(inputs), needed=op == "weighted")
    arguments = (addresses, np.int32(len(inputs)), weights, _checked(out, inputs[0].dtype), np.int64(out.size))
    functions["rank_order_reduce"](grid_for(out.size), (BLOCK_SIZE,), (*arguments, np.int32(REDUCTIONS[op])))


def _weights(given: Any, num_arrays: int, *, needed: bool) -> Array:
    """One f64 an array on the GPU; for the other reductions an array that nobody reads."""
    import cupy

    if not needed:
        return _empty(1, np.dtype(np.float64))
    if len(given) != num_arrays:
        raise ValueError(expected("rank_order_reduce", f"weights of {num_arrays} arrays", str(len(given))))
    return given if isinstance(given, cupy.ndarray) else cupy.asarray(np.array(given, np.float64))


def _reduce_channels(
    functions: Functions, name: str, inputs: Sequence[Array], outs: Sequence[Array], workspace: Array, *leading: Any
) -> None:
    """Sum the parts of all channels in the workspace, then merge them into `outs`.

    `leading` are the arguments of the merge between its outputs and the number of channels.
    """
    batch, channels, plane = _planes(inputs[0])
    splits = splits_for(int(batch * plane))
    jobs = int(channels) * splits
    parts = workspace.view(outs[0].dtype)
    if jobs:
        arguments = (*inputs, parts, batch, channels, plane, np.int32(splits))
        functions[name](grid_for(jobs, 1), (BLOCK_SIZE,), arguments)
    merged = (parts, *outs, *leading, channels, np.int32(splits))
    functions[f"{name}_merge"](grid_for(int(channels)), (BLOCK_SIZE,), merged)


def channel_parts(fields: int) -> Callable[[Problem], int]:
    """Bytes of the parts of all channels, `fields` numbers of the accumulation dtype each."""

    def nbytes(problem: Problem) -> int:
        batch, channels, *plane = problem.inputs[0].shape
        itemsize = accumulation_dtype(problem.inputs[0].dtype).itemsize
        return max(channels * splits_for(batch * prod(plane)), 1) * fields * itemsize

    return nbytes


def launch_batch_norm_statistics(
    functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]
) -> None:
    """batch_norm_statistics(x, out=stats[2C+1])."""
    (x,) = inputs
    batch, _, plane = _planes(x)
    _checked(out, np.dtype(np.float64 if x.dtype == np.float64 else np.float32))
    _reduce_channels(functions, "batch_norm_statistics", inputs, [out], attrs["workspace"], np.int64(batch * plane))


def launch_batch_norm_backward_sums(
    functions: Functions, inputs: Sequence[Array], out: Sequence[Array], attrs: Mapping[str, Any]
) -> None:
    """batch_norm_backward_sums(dy, x, mean, inverse_std, out=(grad_sums[C], product_sums[C]))."""
    if out[0].size:
        outs = [_checked(array, inputs[2].dtype) for array in out]
        _reduce_channels(functions, "batch_norm_backward_sums", inputs, outs, attrs["workspace"])


def _elementwise_over_channels(functions: Functions, name: str, inputs: Sequence[Array], out: Array) -> None:
    if out.size:
        _, channels, plane = _planes(out)
        arguments = (*inputs, _checked(out, inputs[0].dtype), np.int64(out.size), channels, plane)
        functions[name](grid_for(out.size), (BLOCK_SIZE,), arguments)


def launch_batch_norm_normalize(
    functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]
) -> None:
    """batch_norm_normalize(x, mean, inverse_std, weight, bias, out=y)."""
    _elementwise_over_channels(functions, "batch_norm_normalize", inputs, out)


def launch_batch_norm_backward_data(
    functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]
) -> None:
    """batch_norm_backward_data(dy, x, mean, inverse_std, weight, grad_sums, product_sums, stats, out=dx)."""
    _elementwise_over_channels(functions, "batch_norm_backward_data", inputs, out)


def _row_block(classes: int) -> tuple[int]:
    """Threads for one row: the power of two that holds it, from one warp to a whole block."""
    return (min(BLOCK_SIZE, max(32, 1 << (classes - 1).bit_length())),)


def launch_softmax_cross_entropy(
    functions: Functions, inputs: Sequence[Array], out: Sequence[Array], attrs: Mapping[str, Any]
) -> None:
    """softmax_cross_entropy(logits, targets, out=(losses, probabilities), *, label_smoothing)."""
    logits, targets = inputs
    rows, classes = logits.shape
    if rows == 0:
        return
    losses, probabilities = (_checked(array, logits.dtype) for array in out)
    flag, number = flag_for("softmax_cross_entropy", f"targets from 0 to {classes - 1}", BAD_TARGET, ValueError)
    smoothing = np.float64(attrs["label_smoothing"])
    arguments = (logits, targets, np.int32(targets.dtype == np.int64), losses, probabilities, flag, np.int64(number))
    functions["softmax_cross_entropy"](
        grid_for(rows, 1), _row_block(classes), (*arguments, np.int64(rows), np.int64(classes), smoothing)
    )


def launch_softmax_cross_entropy_backward(
    functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]
) -> None:
    """softmax_cross_entropy_backward(grad, probabilities, targets, out, *, label_smoothing)."""
    if out.size == 0:
        return
    grad, probabilities, targets = inputs
    rows, classes = out.shape
    smoothing = np.float64(attrs["label_smoothing"])
    arguments = (grad, probabilities, targets, np.int32(targets.dtype == np.int64), _checked(out, grad.dtype))
    functions["softmax_cross_entropy_backward"](
        grid_for(out.size), (BLOCK_SIZE,), (*arguments, np.int64(rows), np.int64(classes), smoothing)
    )


def launch_add_at(functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]) -> None:
    """add_at(total, positions, values, out)."""
    import cupy

    total, positions, values = inputs
    if out is not total:
        out[...] = total
    if values.size == 0:
        return
    order = cupy.argsort(positions, kind="stable")
    arguments = (positions[order], order, values, _checked(out, values.dtype), np.int64(values.size))
    functions["add_at"](grid_for(values.size), (BLOCK_SIZE,), arguments)


def launch_formula(*parameters: str) -> LaunchRule:
    """A formula of inputs of one shape, with these attributes."""

    def launch(functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]) -> None:
        (function,) = functions.values()
        for array in (*inputs, _checked(out, inputs[0].dtype)):
            address(array)
        if out.size:
            numbers = [np.float64(attrs[name]) for name in parameters]
            function(grid_for(out.size), (BLOCK_SIZE,), (*inputs, out, np.int64(out.size), *numbers))

    return launch


def launch_range_check(functions: Functions, inputs: Sequence[Array], out: Array, attrs: Mapping[str, Any]) -> None:
    """range_check(index, flag[2], out, *, low, high, number)."""
    index, flag = inputs
    if out is not flag:
        out[...] = flag
    if index.size:
        bounds = [np.int64(attrs[name]) for name in ("low", "high", "number")]
        functions["range_check"](grid_for(index.size), (BLOCK_SIZE,), (index, np.int64(index.size), *bounds, out))


def chunks_of(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """[tensor, first element, end] of every chunk of tensors of these sizes, flat."""
    flat: list[int] = []
    for tensor, size in enumerate(sizes):
        for first in range(0, size, CHUNK_SIZE):
            flat += (tensor, first, min(first + CHUNK_SIZE, size))
    return tuple(flat)


def _update(
    functions: Functions, name: str, groups: Sequence[Sequence[Array]], num_tensors: int, arguments: tuple[Any, ...]
) -> None:
    """Start one update of many tensors; a group that does not exist is empty."""
    sizes = tuple(array.size for array in groups[0])
    if not any(sizes):
        return
    dtype = groups[0][0].dtype
    for group in groups:
        for array in group:
            if array.dtype != dtype:
                raise DtypeError(expected(name, f"arrays of {dtype}", str(array.dtype)))
    addresses = tuple(entry for group in groups for entry in ([address(array) for array in group] or [0] * num_tensors))
    chunks = built_table(chunks_of, sizes)
    num_chunks = chunks.size // 3
    tables = (device_table(addresses), np.int64(num_tensors), chunks, np.int64(num_chunks))
    functions[name](grid_for(num_chunks, 1), (BLOCK_SIZE,), (*tables, *arguments))


def _grouped(arrays: Sequence[Array], num_tensors: int, num_groups: int) -> list[Sequence[Array]]:
    return [arrays[group * num_tensors : (group + 1) * num_tensors] for group in range(num_groups)]


def launch_sgd_update(
    functions: Functions, inputs: Sequence[Array], out: Sequence[Array], attrs: Mapping[str, Any]
) -> None:
    """sgd_update(lr, *params, *grads, *buffers, out=(params, buffers), *, num_tensors, momentum, …)."""
    lr, num_tensors = inputs[0], attrs["num_tensors"]
    outputs = out if isinstance(out, tuple | list) else (out,)
    groups = [*_grouped(inputs[1:], num_tensors, 3), *_grouped(outputs, num_tensors, 2)]
    rates = [np.float64(attrs[name]) for name in ("momentum", "dampening", "weight_decay")]
    _update(functions, "sgd_update", groups, num_tensors, (lr, _is_f64(lr), *rates, np.int32(attrs["nesterov"])))


def launch_adam_update(
    functions: Functions, inputs: Sequence[Array], out: Sequence[Array], attrs: Mapping[str, Any]
) -> None:
    """adam_update(lr, step, *params, *grads, *m, *v, out=(step, params, m, v), *, num_tensors, …)."""
    lr, step, num_tensors = inputs[0], inputs[1], attrs["num_tensors"]
    groups = [*_grouped(inputs[2:], num_tensors, 4), *_grouped(out[1:], num_tensors, 3)]
    rates = [np.float64(attrs[name]) for name in ("beta1", "beta2", "eps", "weight_decay")]
    arguments = (lr, _is_f64(lr), step, *rates, np.int32(attrs["decoupled"]))
    _update(functions, "adam_update", groups, num_tensors, arguments)
    # Only now, in stream order: all blocks above read the old step, which `out` may be.
    np.add(step, 1, out=out[0])
