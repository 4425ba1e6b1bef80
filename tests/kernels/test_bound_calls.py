"""Compiled kernels that are bound to arrays once: the same bits as a call, each time the arrays hold something else."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable

import numpy as np
import pytest
from helpers.kernel_cases import OPS
from helpers.kernel_checks import applicable_cases, dtype_of, outputs_for
from helpers.tolerance import assert_close

from dtrain.base.dtype import from_numpy
from dtrain.graph.calls import problem_of
from dtrain.kernels import Candidate, all_kernels, kernels_of, reference_of
from dtrain.kernels.cpu_kernels import compiled_rows
from dtrain.kernels.workspace import bind_alone, with_workspace

BOUND = [each for each in all_kernels() if each.binder is not None and each.is_supported]
LOOKS_AT_ELEMENTS = {
    "max_pool2d_backward", "dropout_mask", "normal", "uniform", "rank_order_reduce",
    "softmax_cross_entropy", "softmax_cross_entropy_backward",
}  # fmt: skip

pytestmark = pytest.mark.skipif(not BOUND, reason="the compiled module is not built")


def out_of(outputs: list[np.ndarray]) -> object:
    return outputs[0] if len(outputs) == 1 else tuple(outputs)


@pytest.mark.parametrize("candidate", BOUND, ids=lambda candidate: candidate.name)
def test_a_bound_call_does_what_a_call_does(candidate: Candidate) -> None:
    count = 0
    for case, inputs in applicable_cases(candidate, most_further=25):
        outputs, wanted = outputs_for(case, candidate), outputs_for(case, candidate)
        problem = problem_of(case, from_numpy(dtype_of(candidate)))
        bound = bind_alone(candidate, problem, inputs, out_of(outputs))
        function = with_workspace(candidate.function, candidate.workspace_nbytes(problem))
        for scale in (1, 0.5):  # the same call on other elements
            for array in inputs:
                if array.dtype.kind == "f":
                    array *= array.dtype.type(scale)
            for array in (*outputs, *wanted):
                array.fill(0)
            assert bound() is None
            function(*inputs, out=out_of(wanted), **case.attrs)
            for got, right in zip(outputs, wanted):
                np.testing.assert_array_equal(got, right, err_msg=f"{candidate.name}: {case.label}")
        count += 1
    assert count


def test_only_what_looks_at_elements_has_none() -> None:
    unbound = {row.op for row in compiled_rows() if row.bind is None}
    assert unbound == LOOKS_AT_ELEMENTS & {row.op for row in compiled_rows()} and set(OPS) >= unbound


def kernel(op: str) -> Candidate:
    return next(each for each in kernels_of(op) if each.binder is not None and "_f32_" in each.name)


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_arguments_are_checked_once_when_bound() -> None:
    relu = kernel("relu")
    bad: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: relu.bind([f32(1)], f32(1, 2), {}), ValueError, "x and out of one size"),
        (lambda: relu.bind([np.ones(1)], f32(1), {}), TypeError, "input 0 of dtype f32"),
        (lambda: relu.bind([f32(1, 2, 3, 4)[::2]], f32(1, 2), {}), ValueError, "C-contiguous"),
    ]
    for bind, error, text in bad:
        with pytest.raises(error, match=text):
            bind()
    bound = relu.bind([f32(-1)], f32(9), {})
    with pytest.raises(TypeError, match="takes no arguments"):
        bound(f32(1))  # type: ignore[call-arg]


def test_it_keeps_its_arrays_and_lets_them_go() -> None:
    x, outputs = f32(-1, 2), (f32(0, 0),)
    before = sys.getrefcount(x), sys.getrefcount(outputs[0])
    bound = kernel("relu").bind([x], outputs[0], {})
    assert (sys.getrefcount(x), sys.getrefcount(outputs[0])) == (before[0] + 1, before[1] + 1)
    bound()
    del bound
    gc.collect()
    assert (sys.getrefcount(x), sys.getrefcount(outputs[0])) == before
    bound = kernel("relu").bind([f32(-1, 2)], outputs[0], {})  # nobody else holds the input
    gc.collect()
    junk = [f32(7, 7) for _ in range(100)]
    bound()
    assert outputs[0].tolist() == [0, 2] and len(junk) == 100


def test_rates_and_counts_of_steps_are_read_at_each_run() -> None:
    attrs = {"num_tensors": 1, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}
    lr, p, g, out = np.array(0.5), f32(1), f32(1), f32(0)
    step = kernel("sgd_update").bind([lr, p, g], out, attrs)
    step()
    assert out[0] == 0.5
    lr[()] = 0.25
    step()
    assert out[0] == 0.75
    attrs = {"num_tensors": 1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01, "decoupled": True}
    results = []
    for function in (kernel("adam_update").bind, None):
        lr, count = np.array(0.1), np.array(0)
        p, average, square = f32(1, -2), f32(0, 0), f32(0, 0)
        inputs, outputs = [lr, count, p, f32(0.5, 0.25), average, square], (count, p, average, square)
        reference = reference_of("adam_update").function
        run = function(inputs, outputs, attrs) if function else lambda: reference(*inputs, out=outputs, **attrs)  # noqa: B023
        for rate in (0.1, 0.05, 0.2):
            lr[()] = rate
            run()
        results.append((int(count), p.copy()))
    assert results[0][0] == results[1][0] == 3
    assert_close(results[0][1], results[1][1], length=1, magnitude=1.0, what="adam_update")
