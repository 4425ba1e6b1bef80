"""Which calls of an op a kernel takes, and whether what it makes of them is what the reference makes."""

from __future__ import annotations

import numpy as np
from helpers.kernel_cases import call, calls_of_op, further_calls
from helpers.tolerance import assert_close, magnitude_of

from dtrain.base.dtype import as_dtype, float64, from_numpy
from dtrain.graph.calls import problem_of
from dtrain.kernels import Candidate, all_kernels, reference_of
from dtrain.kernels.call import Call, outputs_of
from dtrain.kernels.workspace import with_workspace

LISTED = [candidate for candidate in all_kernels() if not candidate.is_reference and candidate.device_kind == "cpu"]
COMPILED = [candidate for candidate in LISTED if candidate.is_supported]
TAGS = ("bool", "u8", "s8", "s16", "s32", "s64", "f16", "bf16", "f32", "f64")


def dtype_of(candidate: Candidate) -> np.dtype:
    """The dtype in a kernel's name."""
    parts = candidate.name.removeprefix(candidate.op).split("_")
    return as_dtype(next(part for part in parts if part in TAGS)).numpy


def is_exact(candidate: Candidate) -> bool:
    """Kernels that promise the bits of the reference, in any dtype."""
    return candidate.op in ("rank_order_reduce", "relu_backward", "im2col", "uniform", "dropout_mask")


def outputs_for(case: Call, candidate: Candidate) -> list[np.ndarray]:
    """Arrays for a kernel to write into."""
    return outputs_of(problem_of(case, from_numpy(dtype_of(candidate))))


# What the reference makes of the calls of one op: kernels of one dtype for several instruction sets share it.
_wanted: dict[tuple[str, int, np.dtype], list[np.ndarray]] = {}


def wanted_outputs(case: Call, candidate: Candidate) -> list[np.ndarray]:
    """What the reference makes of the same inputs: in f64, or in the kernel's own dtype where bits are promised."""
    dtype = dtype_of(candidate)
    key = (candidate.op, id(case), dtype)  # calls of kernels are kept as long as the process lives
    if any(op != candidate.op for op, _, _ in _wanted):
        _wanted.clear()
    if key not in _wanted:
        with np.errstate(all="ignore"):
            inputs = case.make_inputs(dtype)
            wide = [a if is_exact(candidate) or a.dtype.kind in "iub" else a.astype(np.float64) for a in inputs]
            outputs = outputs_of(problem_of(case, from_numpy(dtype) if is_exact(candidate) else float64))
            call(reference_of(candidate.op).function, wide, outputs, case.attrs)
        _wanted[key] = outputs
    return _wanted[key]


def applicable_cases(candidate: Candidate, most_further: int | None = None) -> list[tuple[Call, list[np.ndarray]]]:
    """The calls that the kernel's predicate lets through, with inputs in its dtype.

    With a limit so many of those that stand beside the op's own.
    """
    further = [case for case in further_calls(candidate.op) if _is_meant_for(case, candidate)]
    own = [case for case in calls_of_op(candidate.op) if _is_meant_for(case, candidate)]
    with np.errstate(all="ignore"):
        return [(case, case.make_inputs(dtype_of(candidate))) for case in (*own, *further[:most_further])]


def _is_meant_for(case: Call, candidate: Candidate) -> bool:
    dtype = from_numpy(dtype_of(candidate))
    if not dtype.is_floating:
        if case.attrs.get("op") in ("mean", "weighted"):
            return False
        if any(isinstance(a, np.ndarray) and a.dtype.kind == "f" and np.isnan(a).any() for a in case.inputs):
            return False  # an integer has no NaN, and what a cast makes of one is not defined
    return candidate.usable(problem_of(case, dtype))


def run(candidate: Candidate, case: Call, inputs: list[np.ndarray], outputs: list[np.ndarray]) -> None:
    """Call a kernel, with the workspace that it asks for."""
    nbytes = candidate.workspace_nbytes(problem_of(case, from_numpy(dtype_of(candidate))))
    call(with_workspace(candidate.function, nbytes), inputs, outputs, case.attrs)


def compare(case: Call, candidate: Candidate, got: list[np.ndarray], wanted: list[np.ndarray]) -> None:
    for i, (array, oracle) in enumerate(zip(got, wanted, strict=True)):
        what = f"{candidate.name}: {case.label or case.inputs}, output {i}"
        if is_exact(candidate):
            wide = array.dtype if array.dtype.kind in "iub" else np.float64
            np.testing.assert_array_equal(array.astype(wide), oracle.astype(wide), err_msg=what)
        else:
            magnitude = case.magnitude or magnitude_of(oracle)
            length = case.length * round(candidate.rounding**2)  # what is tolerated grows with its root
            assert_close(array, oracle, length=length, magnitude=magnitude, what=what)
