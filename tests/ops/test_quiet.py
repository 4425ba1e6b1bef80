"""No warning of NumPy's reaches a user, eagerly or traced: every op over zeros, infinities, NaN and extremes.

The suite runs with warnings as errors, so that a warning anywhere fails the test that met it.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Callable

import numpy as np
import pytest
from helpers.op_calls import call_of, case_id, float_positions, has_gradient, make_arrays, op_cases, weighted_sum

import dtrain.functional as F
from dtrain.base.dtype import FLOATS, DType, float32, from_numpy
from dtrain.capture.trace import trace
from dtrain.core.apply import apply_all, update
from dtrain.core.tensor import Tensor, wrap
from dtrain.core.tensor_factory import full, tensor
from dtrain.graph.op import Op
from dtrain.runtime.buckets import BUCKET_MEMBERS

COMPUTING = list(op_cases(lambda op: not (op.is_dynamic or op.is_collective)))
# Every call in f32; of the other dtypes, which other kernels or casts serve, the first.
QUIET_CASES = [
    (op, number, dtype)
    for op, number in COMPUTING
    for dtype in op.dtypes
    if dtype is float32 or (number == 0 and dtype in FLOATS)
]


def _special(dtype: DType) -> np.ndarray:
    largest = 3e38 if dtype.tag == "bf16" else float(np.finfo(dtype.numpy).max)
    numbers = [0.0, -0.0, np.inf, -np.inf, np.nan, largest, -largest, 1e-40, 1.0, -1.0, 0.5, 1000.0]
    with np.errstate(all="ignore"):
        return np.array(numbers).astype(dtype.numpy)


def _filled(op: Op, number: int, dtype: DType) -> list[np.ndarray]:
    arrays, special = make_arrays(op, number, dtype), _special(dtype)
    return [
        np.resize(np.roll(special, position), array.shape).astype(array.dtype)
        if not isinstance(entry, np.ndarray) and from_numpy(array.dtype).is_floating
        else array
        for position, (array, entry) in enumerate(zip(arrays, call_of(op, number).inputs))
    ]


@pytest.mark.parametrize(("op", "number", "dtype"), QUIET_CASES, ids=case_id)
def test_ops_are_quiet(op: Op, number: int, dtype: DType):
    attrs = call_of(op, number).attrs
    tensors = [wrap(array) for array in _filled(op, number, dtype)]
    if op.aliases_of(attrs):
        update(op, *[wrap(t.numpy().copy()) for t in tensors], **attrs)
        return
    try:
        apply_all(op, tensors, attrs)
    except (ValueError, RuntimeError) as error:
        assert "expected" in str(error)  # some ops refuse such values, in our words
        return
    if has_gradient(op, number) and op.name not in BUCKET_MEMBERS:
        leaves = [wrap(t.numpy()) for t in tensors]
        for position in float_positions([t.numpy() for t in tensors]):
            leaves[position].requires_grad_()
        weights = [np.ones(y.shape) for y in apply_all(op, leaves, attrs)]
        total = weighted_sum(apply_all(op, leaves, attrs), weights)
        if total is not None:
            total.backward()


CALLS: dict[str, Callable[[Tensor], Tensor]] = {
    "log": F.log,
    "exp": lambda x: F.exp(x * 1000),
    "div": lambda x: 1 / x,
    "0 / 0": lambda x: x / x,
    "invalid": lambda x: F.sqrt(-x - 1),
    "matmul": lambda x: F.matmul(x[:, None] / 0, x[None]),
    "narrowing": lambda x: (x + 1e10).to("f16"),
    "to integers": lambda x: (x / 0).to("s32"),
    "a number beyond f16": lambda x: x.to("f16") * 1e10,
    "made from numbers": lambda x: full((2,), 1e10, dtype="f16") + tensor(1e10, dtype="f16"),
    "clip": lambda x: F.clip(x.to("f16"), -1e10, 1e10),
    "integers": lambda x: F.floor_div(tensor(np.array([-(2**63)])), -1),
    "std of infinities": lambda x: F.std(x / 0),
    "norm": lambda x: F.norm(x / 0, 3),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_quiet_eagerly_and_traced(name: str):
    x = tensor([0.0, 1.0], requires_grad=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = CALLS[name](x)
        if result.requires_grad:
            result.sum().backward()
        traced = trace(CALLS[name])
        traced(x), traced(x)


def test_the_users_own_numpy_still_warns():
    F.log(tensor(0.0))
    trace(F.log)(tensor(0.0))
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        np.log(np.zeros(1))
    with np.errstate(all="raise"):
        assert F.log(tensor(0.0)).item() == -np.inf
        with pytest.raises(FloatingPointError):
            np.log(np.zeros(1))


def test_in_threads_and_inside_of_each_other():
    found: list[float] = []
    threads = [threading.Thread(target=lambda: found.append(F.log(tensor(0.0)).item())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [-np.inf] * 4


def test_a_script_run_with_warnings_as_errors():
    script = (
        "import dtrain as dt, dtrain.functional as F; print(F.log(dt.tensor(0.0)).item(), (1 / dt.tensor(0.0)).item())"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "-inf inf\n"), done.stderr
