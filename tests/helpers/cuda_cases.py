"""What every row of the CUDA table is tried with, in the emulation and on a GPU, against the references.

The calls that the op lists, with each input in the dtype of its role, and further ones: those of the CPU's kernels, or
a list here where warps, blocks and splits have ends of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
from helpers.kernel_cases import calls_of_op, further_calls
from helpers.tolerance import assert_close, magnitude_of

from dtrain.base.device import Device, as_device
from dtrain.base.dtype import float64, from_numpy
from dtrain.base.tensor_type import tensor_type
from dtrain.graph.calls import problem_of
from dtrain.kernels import Problem, reference_of
from dtrain.kernels.call import Call, Typed
from dtrain.kernels.cuda.table import TABLE, CudaRow
from dtrain.kernels.cuda_kernels import row_function
from dtrain.kernels.quiet import quiet
from dtrain.kernels.registry import signature_of
from dtrain.kernels.signature import accumulation_dtype, dtypes_of_roles, element_dtype, weight_dtype
from dtrain.kernels.workspace import with_workspace

# Empty, one, around a warp and a block, a prime, several blocks.
SIZES = (0, 1, 31, 32, 33, 255, 256, 257, 1009, 5000)
# [N,C,...]: no images, one value, 1-d batch norm, planes below, at and above a block, several splits a channel.
PLANES = ((0, 3, 4, 4), (1, 1, 1, 1), (7, 5), (2, 3, 16, 16), (3, 2, 5, 17), (4, 2, 50, 50), (2, 0, 3, 3))


CUDA = as_device("cuda:0")

Cases = Callable[[str, np.random.Generator], Iterator[Call]]


def _typed(
    inputs: Sequence[np.ndarray],
    outputs: Sequence[tuple[tuple[int, ...], np.dtype]],
    attrs: Mapping[str, Any] = MappingProxyType({}),
    aliases: Mapping[int, int] = MappingProxyType({}),
    length: int = 1,
    magnitude: float = 4.0,
) -> Call:
    """A call whose arrays have the dtypes of a tag already."""
    typed = tuple(Typed(shape, dtype) for shape, dtype in outputs)
    return Call(inputs=tuple(inputs), outputs=typed, attrs=attrs, aliases=aliases, length=length, magnitude=magnitude)


def _rank_order_reduce(tag: str, random: np.random.Generator) -> Iterator[Call]:
    dtype = element_dtype(tag).numpy
    for size in SIZES:
        for count, op in ((1, "sum"), (3, "mean"), (5, "sum"), (4, "prod"), (3, "min"), (3, "max")):
            arrays = [random.normal(size=size).astype(dtype) for _ in range(count)]
            if op in ("min", "max") and size > 1:
                arrays[1][0] = arrays[0][1] = np.nan
            aliases = {0: count - 1} if size % 2 else {}
            yield _typed(arrays, [((size,), dtype)], {"op": op}, aliases, length=count)
        for weights in ((0.25, 0.5, 0.25), (0.0, 1 / 3, 2 / 3), (0.0, 0.0)):
            arrays = [random.normal(size=size).astype(dtype) for _ in weights]
            arrays[0][...] = np.nan if weights[0] == 0 else arrays[0]
            attrs = {"op": "weighted", "weights": weights}
            yield _typed(arrays, [((size,), dtype)], attrs, {0: 1} if size % 2 else {}, length=len(weights))


def _normal(random: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype, center: float = 0.0) -> np.ndarray:
    return random.normal(center, size=shape).astype(dtype)


def _channel_inputs(tag: str, shape: tuple[int, ...], random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """x, dy, mean, inverse_std, weight, bias of a batch norm over `shape`."""
    element, wide = element_dtype(tag).numpy, accumulation_dtype(element_dtype(tag)).numpy
    weights, channels = weight_dtype(tag).numpy, (shape[1],)
    mean, inverse_std = _normal(random, channels, wide), random.uniform(0.5, 2, channels).astype(wide)
    weight, bias = _normal(random, channels, weights), _normal(random, channels, weights)
    return _normal(random, shape, element), _normal(random, shape, element), mean, inverse_std, weight, bias


def _batch_norm_statistics(tag: str, random: np.random.Generator) -> Iterator[Call]:
    element, wide = element_dtype(tag).numpy, accumulation_dtype(element_dtype(tag)).numpy
    for shape in PLANES:
        # A large offset is what E[x²] − E[x]² fails at; short floats cannot hold one.
        for center in (0.0, 1000.0 if element.itemsize > 2 else 3.0):
            x = _normal(random, shape, element, center)
            length = max(x.size // max(shape[1], 1), 1)
            yield _typed([x], [((2 * shape[1] + 1,), wide)], length=length, magnitude=4.0)


def _batch_norm_backward_sums(tag: str, random: np.random.Generator) -> Iterator[Call]:
    for shape in PLANES:
        x, dy, mean, inverse_std, *_ = _channel_inputs(tag, shape, random)
        length = max(x.size // max(shape[1], 1), 1)
        outputs = [((shape[1],), mean.dtype)] * 2
        yield _typed([dy, x, mean, inverse_std], outputs, length=length, magnitude=float(length))


def _batch_norm_normalize(tag: str, random: np.random.Generator) -> Iterator[Call]:
    for shape in PLANES:
        x, _, *channels = _channel_inputs(tag, shape, random)
        yield _typed([x, *channels], [(shape, x.dtype)])


def _batch_norm_backward_data(tag: str, random: np.random.Generator) -> Iterator[Call]:
    for shape in PLANES:
        x, dy, mean, inverse_std, weight, _ = _channel_inputs(tag, shape, random)
        grad_sums, product_sums = (_normal(random, (shape[1],), mean.dtype) for _ in range(2))
        stats = _normal(random, (2 * shape[1] + 1,), mean.dtype)
        stats[0] = x.size // max(shape[1], 1)
        yield _typed([dy, x, mean, inverse_std, weight, grad_sums, product_sums, stats], [(shape, x.dtype)])


def _softmax_cross_entropy(tag: str, random: np.random.Generator) -> Iterator[Call]:
    dtype = element_dtype(tag).numpy
    for rows, classes in ((0, 3), (1, 1), (5, 10), (3, 33), (2, 1000)):
        for smoothing, integer in ((0.0, np.int64), (0.1, np.int32)):
            logits = (4 * random.normal(size=(rows, classes))).astype(dtype)
            targets = random.integers(0, classes, rows).astype(integer)
            outputs = [((rows,), dtype), ((rows, classes), dtype)]
            yield _typed([logits, targets], outputs, {"label_smoothing": smoothing}, length=classes)


def _softmax_cross_entropy_backward(tag: str, random: np.random.Generator) -> Iterator[Call]:
    dtype = element_dtype(tag).numpy
    for rows, classes in ((0, 3), (1, 1), (5, 10), (700, 3)):
        for smoothing, integer in ((0.0, np.int32), (0.2, np.int64)):
            grad, probabilities = _normal(random, (rows,), dtype), random.uniform(size=(rows, classes)).astype(dtype)
            targets = random.integers(0, classes, rows).astype(integer)
            attrs = {"label_smoothing": smoothing}
            yield _typed([grad, probabilities, targets], [((rows, classes), dtype)], attrs)


# Sizes of the tensors of one update: none, empty ones among others, one above a chunk.
_UPDATES = ((), (1,), (0, 5, 300), (9000, 3, 257))


def _sgd_update(tag: str, random: np.random.Generator) -> Iterator[Call]:
    dtype = element_dtype(tag).numpy
    settings = ((0.0, 0.0, 0.0, False), (0.9, 0.0, 1e-2, False), (0.9, 0.0, 1e-2, True), (0.5, 0.25, 0.0, False))
    for sizes in _UPDATES:
        for in_place, (momentum, dampening, weight_decay, nesterov) in zip((True, False, True, True), settings):
            groups = 3 if momentum else 2
            arrays = [_normal(random, (size,), dtype) for _ in range(groups) for size in sizes]
            lr = np.asarray(0.1, np.float64 if in_place else np.float32)
            attrs = {
                "num_tensors": len(sizes), "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                "nesterov": nesterov,
            }  # fmt: skip
            outputs = [((size,), dtype) for _ in range(groups - 1) for size in sizes]
            sources = [*range(1, 1 + len(sizes)), *range(1 + 2 * len(sizes), 1 + 3 * len(sizes))]
            yield _typed([lr, *arrays], outputs, attrs, dict(enumerate(sources[: len(outputs)])) if in_place else {})


def _adam_update(tag: str, random: np.random.Generator) -> Iterator[Call]:
    dtype = element_dtype(tag).numpy
    settings = ((True, 0, 0.0, False), (True, 7, 0.1, True), (False, 99, 0.1, False))
    for sizes in _UPDATES[1:]:
        for in_place, step, weight_decay, decoupled in settings:
            arrays = [_normal(random, (size,), dtype) for _ in range(3) for size in sizes]
            squares = [random.uniform(0.1, 1, size).astype(dtype) for size in sizes]
            attrs = {
                "num_tensors": len(sizes), "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": weight_decay,
                "decoupled": decoupled,
            }  # fmt: skip
            inputs = [np.asarray(1e-2, np.float32), np.asarray(step, np.int64), *arrays, *squares]
            outputs = [((), np.dtype(np.int64)), *[((size,), dtype) for _ in range(3) for size in sizes]]
            count = len(sizes)
            sources = [1, *range(2, 2 + count), *range(2 + 2 * count, 2 + 4 * count)]
            yield _typed(inputs, outputs, attrs, dict(enumerate(sources)) if in_place else {})


def _add_at(tag: str, random: np.random.Generator) -> Iterator[Call]:
    dtype = element_dtype(tag).numpy
    for size, places in ((0, 5), (1, 1), (300, 7), (257, 1000)):
        for in_place in (True, False):
            total, values = (10 * _normal(random, (count,), np.dtype(np.float64)) for count in (places, size))
            numbers = [np.abs(array).astype(dtype) for array in (total, values)]
            positions = random.integers(0, places, size)
            yield _typed([numbers[0], positions, numbers[1]], [((places,), dtype)], {}, {0: 0} if in_place else {})


def _range_check(tag: str, random: np.random.Generator) -> Iterator[Call]:
    dtype = element_dtype(tag).numpy
    for size in SIZES:
        for low, high, bad in ((0, 9, 9), (0, 9, -1), (-9, 9, -10), (-9, 9, None)):
            index = random.integers(low, high, size).astype(dtype)
            if bad is not None and size:
                index[random.integers(size)] = bad  # only one: any of several may be reported
            for before in (0, 3):
                attrs = {"low": low, "high": high, "number": 7}
                flag = np.array([before, before], np.int64)
                yield _typed([index, flag], [((2,), np.dtype(np.int64))], attrs, {0: 1} if size % 2 else {})


# Lists of their own; all other kernels take further calls of the CPU's.
FURTHER: dict[str, Cases] = {
    "range_check": _range_check,
    "add_at": _add_at,
    "rank_order_reduce": _rank_order_reduce,
    "batch_norm_statistics": _batch_norm_statistics,
    "batch_norm_backward_sums": _batch_norm_backward_sums,
    "batch_norm_normalize": _batch_norm_normalize,
    "batch_norm_backward_data": _batch_norm_backward_data,
    "softmax_cross_entropy": _softmax_cross_entropy,
    "softmax_cross_entropy_backward": _softmax_cross_entropy_backward,
    "sgd_update": _sgd_update,
    "adam_update": _adam_update,
}
# Every so manieth of the CPU's where these are many: the emulation runs threads one after the other.
EVERY = {
    "max_pool2d": 2, "im2col": 7, "col2im": 7, "conv2d": 5, "conv2d_backward_data": 5, "conv2d_backward_weights": 5,
}  # fmt: skip


def cases_of(row: CudaRow, tag: str, random: np.random.Generator) -> list[Call]:
    """What a kernel is tried with, in the dtypes of its tag."""
    further = [] if row.op in FURTHER else further_calls(row.op)[:: EVERY.get(row.op, 1)]
    looser = [replace(call, magnitude=4 * call.magnitude) for call in further]
    candidate = row.candidate(tag, "cuda", row_function(row, tag))
    typed = [_in_roles(call, row, tag) for call in (*calls_of_op(row.op), *looser)]
    taken = [call for call in typed if candidate.usable(_problem(row, call, CUDA))]
    return taken + (list(FURTHER[row.op](tag, random)) if row.op in FURTHER else [])


def _in_roles(call: Call, row: CudaRow, tag: str) -> Call:
    """The call with each input that has no dtype of its own in that of its role, and with the outputs of its op."""
    arrays, roles = call.make_inputs(float64.numpy), signature_of(row.op).roles
    fixed, repeated = (
        [role.strip("*") for role in roles if role.endswith("*") is is_many] for is_many in (False, True)
    )
    of_role = dtypes_of_roles(tag)
    for i, role in enumerate([*fixed, *repeated * len(arrays)][: len(arrays)]):
        if call.is_tested(i):
            arrays[i] = arrays[i].astype(of_role[role][0].numpy)
    typed = replace(call, inputs=tuple(arrays), keep=tuple(range(len(arrays))))
    outputs = problem_of(typed, element_dtype(tag)).outputs
    return replace(typed, outputs=tuple(Typed(each.shape, each.array_dtype) for each in outputs))


ROWS = [(row, tag) for row in TABLE for tag in row.dtypes]
ROW_IDS = [f"{row.op}-{tag}" for row, tag in ROWS]


def _call(function: Callable[..., None], case: Call, inputs: list[Any], empty: Callable[..., Any]) -> list[Any]:
    outputs = [
        inputs[case.aliases[index]] if index in case.aliases else empty(output.shape, output.dtype)
        for index, output in enumerate(case.outputs)
    ]
    function(*inputs, out=outputs[0] if len(outputs) == 1 else tuple(outputs), **case.attrs)
    return outputs


def run_on_cuda(row: CudaRow, tag: str, case: Call) -> list[np.ndarray]:
    """The outputs of the CUDA kernel, brought to the host."""
    import cupy

    inputs = [cupy.asarray(array) for array in case.inputs]
    problem = _problem(row, case, as_device(f"cuda:{cupy.cuda.Device().id}"))
    nbytes = 0 if row.workspace is None else row.workspace(problem)
    function = with_workspace(row_function(row, tag), nbytes, problem.device)
    return [array.get() for array in _call(function, case, inputs, cupy.empty)]


def _problem(row: CudaRow, case: Call, device: Device) -> Problem:
    inputs, outputs = (
        [tensor_type(each.shape, from_numpy(np.dtype(each.dtype)), device=device) for each in arrays]
        for arrays in (case.inputs, case.outputs)
    )
    return Problem(row.op, inputs, outputs, case.attrs)


def run_reference(row: CudaRow, case: Call) -> list[np.ndarray]:
    """The outputs of the NumPy reference, which runs quietly everywhere."""
    return _call(quiet(reference_of(row.op).function), case, [array.copy() for array in case.inputs], np.empty)


def check_row(row: CudaRow, tag: str) -> int:
    """Compare the kernel with the reference on every case of its op; returns how many there were."""
    count = 0
    for number, case in enumerate(cases_of(row, tag, np.random.default_rng(7))):
        got, wanted = run_on_cuda(row, tag, case), run_reference(row, case)
        for index, (mine, right) in enumerate(zip(got, wanted, strict=True)):
            what = f"{row.op}_{tag} case {number} {case.attrs}, output {index}"
            magnitude = case.magnitude or magnitude_of(right)
            assert_close(mine, right, length=case.length, magnitude=magnitude, what=what)
        count += 1
    return count
