"""Which cases of an op a kernel takes, and whether what it makes of them is what the reference makes."""

from __future__ import annotations

import numpy as np
from helpers.kernel_cases import CASES, call
from helpers.tolerance import assert_close

from dtrain.base.dtype import as_dtype, from_numpy
from dtrain.base.tensor_type import tensor_type
from dtrain.kernels import Candidate, Problem, all_kernels, reference_of
from dtrain.kernels.call import Call
from dtrain.kernels.workspace import with_workspace

LISTED = [info for info in all_kernels() if not info.is_reference and info.device_kind == "cpu"]
COMPILED = [info for info in LISTED if info.is_supported]
TAGS = ("bool", "u8", "s8", "s16", "s32", "s64", "f16", "bf16", "f32", "f64")


def dtype_of(info: Candidate) -> np.dtype:
    """The dtype in a kernel's name."""
    parts = info.name.removeprefix(info.op).split("_")
    return as_dtype(next(part for part in parts if part in TAGS)).numpy


def is_exact(info: Candidate) -> bool:
    """Kernels that promise the bits of the reference, in any dtype."""
    return info.op in ("rank_order_reduce", "relu_backward", "im2col")


def types_of(arrays: list[np.ndarray]) -> list:
    return [tensor_type(array.shape, from_numpy(array.dtype)) for array in arrays]


def problem_of(op: str, case: Call, inputs: list[np.ndarray], dtype: np.dtype) -> Problem:
    return Problem(op, types_of(inputs), types_of(case.make_outputs(dtype)), case.attrs)


def wanted_outputs(case: Call, info: Candidate, inputs: list[np.ndarray]) -> list[np.ndarray]:
    """What the reference makes of the same inputs: in f64, or in the kernel's own dtype where bits are promised."""
    wide = [a if is_exact(info) or a.dtype.kind in "iub" else a.astype(np.float64) for a in inputs]
    outputs = case.make_outputs(dtype_of(info) if is_exact(info) else np.dtype(np.float64))
    with np.errstate(all="ignore"):
        call(reference_of(info.op).function, wide, outputs, case.attrs)
    return outputs


def applicable_cases(info: Candidate) -> list[tuple[Call, list[np.ndarray]]]:
    """The cases that the kernel's predicate lets through, cast to its dtype."""
    dtype = dtype_of(info)
    found = []
    for case in CASES[info.op]():
        if case.attrs.get("op") in ("mean", "weighted") and not from_numpy(dtype).is_floating:
            continue
        with np.errstate(all="ignore"):
            inputs = case.make_inputs(dtype)
        if any(np.isnan(a).any() for a in case.inputs if a.dtype.kind == "f") and not from_numpy(dtype).is_floating:
            continue  # an integer has no NaN, and what a cast makes of one is not defined
        if info.usable(problem_of(info.op, case, inputs, dtype)):
            found.append((case, inputs))
    return found


def run(info: Candidate, case: Call, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
    """Call a kernel, with the workspace that it asks for."""
    nbytes = info.workspace_nbytes(problem_of(info.op, case, inputs, dtype_of(info)))
    call(with_workspace(info.function, nbytes), inputs, outputs, case.attrs)


def compare(case: Call, info: Candidate, got: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    for i, (array, oracle) in enumerate(zip(got, wanted)):
        what = f"{info.name}: {case.label}, output {i}"
        if is_exact(info):
            wide = array.dtype if array.dtype.kind in "iub" else np.float64
            np.testing.assert_array_equal(array.astype(wide), oracle.astype(wide), err_msg=what)
        else:
            assert_close(array, oracle, length=case.length, magnitude=case.magnitude, what=what)
