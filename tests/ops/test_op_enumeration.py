"""Every registered op, by enumeration: calls, inferred types, every dtype it claims, gradients of first and second
order against central differences, eager against traced. Kernels run these calls, too, in tests/kernels.

A new op is tested here by being registered. Whatever is left out stands in a table below, with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from helpers import op_calls as calls
from helpers.numeric_gradient import directional_derivative
from helpers.op_calls import call_of, case_id, make_arrays, op_cases, run
from helpers.tolerance import assert_close

from dtrain.base.dtype import DType, bool_, float64, from_numpy, int64
from dtrain.capture.trace import trace
from dtrain.collectives.transports.self_communicator import SelfCommunicator
from dtrain.collectives.world.context import using
from dtrain.core.apply import apply_all, update
from dtrain.core.context import no_grad
from dtrain.core.tensor import Tensor, wrap
from dtrain.core.tensor_factory import ones_like
from dtrain.graph.calls import calls_of
from dtrain.graph.op import Op, all_ops
from dtrain.ops.cast import copy
from dtrain.runtime.buckets import BUCKET_MEMBERS

# Not comparable with the same op in f64 (or s64 for integers).
WITHOUT_WIDE_TWIN = {
    "uniform": "the number of random bits follows the dtype; tests/core/test_random.py checks each",
    "normal": "the number of random bits follows the dtype; tests/core/test_random.py checks each",
}
# ~True is False, but in integers ~1 is −2.
BOOL_IS_NOT_A_SMALL_INTEGER = {"bitwise_not"}

# Ops with a gradient rule whose calls are not checked against central differences here.
GRADIENT_CHECKED_ELSEWHERE = {
    "all_reduce_many": "its inputs are one bucket; tests/collectives/test_ops.py checks it",
    "layer_norm": "only the first output has a gradient; tests/ops/test_normalization.py checks it",
    "group_norm": "only the first output has a gradient; tests/ops/test_normalization.py checks it",
    "rms_norm": "only the first output has a gradient; tests/ops/test_normalization.py checks it",
    "batch_norm_backward_sums": "its rule is for one step of sync batch norm; tests/ops/test_batch_norm.py checks it",
}

CASES = list(op_cases())
DTYPE_CASES = [(op, number, dtype) for op, number in CASES for dtype in op.dtypes]
GRAD_CASES = [(op, number) for op, number in op_cases() if calls.has_gradient(op, number)]
# Dynamic ops are left out: the shape of their output depends on values, and the tracer refuses them (tests/core).
TRACE_CASES = [(op, number) for op, number in op_cases(lambda op: not op.is_dynamic)]


@pytest.fixture(autouse=True, scope="module")
def _world_of_one():
    """Collective ops run alone, where they are identities up to shape."""
    with using(SelfCommunicator()):
        yield


@pytest.mark.parametrize("op", list(all_ops()), ids=case_id)
def test_every_op_has_calls(op: Op):
    if op.name not in calls.WITHOUT_CALLS:
        assert calls_of(op), f"give {op.name} calls"


def test_tables_name_registered_ops():
    names = {op.name for op in all_ops()}
    tables = (WITHOUT_WIDE_TWIN, BOOL_IS_NOT_A_SMALL_INTEGER, GRADIENT_CHECKED_ELSEWHERE)
    listed = {*calls.WITHOUT_CALLS}.union(*tables)
    assert listed <= names, listed - names


def test_every_gradient_rule_is_checked():
    checked = {op.name for op, _ in GRAD_CASES} | set(GRADIENT_CHECKED_ELSEWHERE)
    assert [op.name for op in all_ops() if op.grad is not None and op.name not in checked] == []


def _has_shapes(op: Op, number: int) -> bool:
    """Whether the tested dtype enters this call at all."""
    return any(not isinstance(entry, np.ndarray) for entry in call_of(op, number).inputs)


def _widened(op: Op, number: int, arrays: Sequence[np.ndarray], dtype: DType) -> list[np.ndarray]:
    wide = (float64 if dtype.is_floating else int64).numpy
    entries = call_of(op, number).inputs
    return [array if isinstance(entry, np.ndarray) else array.astype(wide) for array, entry in zip(arrays, entries)]


def _terms(inputs: Sequence[np.ndarray], output: np.ndarray) -> int:
    """At most so many terms are added for one element of the output."""
    return max([array.size for array in inputs], default=1) if output.size else 1


@pytest.mark.parametrize(("op", "number", "dtype"), DTYPE_CASES, ids=case_id)
def test_inferred_types_hold_and_every_dtype_agrees_with_the_wide_one(op: Op, number: int, dtype: DType):
    arrays = make_arrays(op, number, dtype)
    results = run(op, number, arrays)
    if not op.is_dynamic:
        inferred = op.infer(*[wrap(array).type for array in arrays], **call_of(op, number).attrs)
        types = inferred if isinstance(inferred, tuple) else (inferred,)
        assert [(t.shape, t.dtype.numpy) for t in types] == [(r.shape, r.dtype) for r in results]
    if op.name in WITHOUT_WIDE_TWIN or not _has_shapes(op, number):
        return
    if dtype is bool_ and op.name in BOOL_IS_NOT_A_SMALL_INTEGER:
        return
    wide = run(op, number, _widened(op, number, arrays, dtype))
    for got, wanted in zip(results, wide, strict=True):
        magnitude = max(1.0, float(np.abs(wanted.astype(np.float64)).max(initial=0.0)))
        length = _terms(arrays, got)
        assert_close(
            got, wanted.astype(got.dtype) if dtype.kind != "float" else wanted, length=length, magnitude=magnitude
        )


# Gradients ------------------------------------------------------------------------------------------------------------


def _weights(op: Op, number: int, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [_weight(output, i) for i, output in enumerate(run(op, number, arrays))]


def _weight(output: np.ndarray, seed: int) -> np.ndarray:
    if not from_numpy(output.dtype).is_floating:
        return np.zeros(output.shape)
    return np.random.default_rng(100 + seed).standard_normal(output.shape)


def _directions(arrays: Sequence[np.ndarray], positions: Sequence[int]) -> list[np.ndarray]:
    directions = calls.random_like([arrays[i].astype(np.float64) for i in positions], seed=7)
    return [direction / max(1.0, float(np.abs(direction).max(initial=0.0))) for direction in directions]


def _replaced(arrays: Sequence[np.ndarray], positions: Sequence[int], new: Sequence[np.ndarray]) -> list[np.ndarray]:
    result = list(arrays)
    for position, array in zip(positions, new):
        result[position] = np.asarray(array, arrays[position].dtype)
    return result


def _dot(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> float:
    return float(sum((a.astype(np.float64) * b).sum() for a, b in zip(first, second)))


@pytest.mark.parametrize(("op", "number"), GRAD_CASES, ids=case_id)
def test_gradient_is_the_numeric_one(op: Op, number: int):
    arrays = make_arrays(op, number, float64)
    positions = [i for i in calls.float_positions(arrays) if arrays[i].dtype == np.float64]
    weights, directions = _weights(op, number, arrays), _directions(arrays, positions)

    def objective(moved: Sequence[np.ndarray]) -> float:
        return _dot(weights, run(op, number, _replaced(arrays, positions, moved)))

    tensors = calls.leaves(arrays, positions)
    gradients = calls.input_gradients(op, number, tensors, weights)
    found = [
        np.zeros(arrays[i].shape) if gradient is None else gradient.numpy()
        for i, gradient in zip(positions, gradients, strict=True)
    ]
    for position, gradient in zip(positions, gradients):
        assert gradient is None or gradient.type is tensors[position].type
    wanted = directional_derivative(objective, [arrays[i] for i in positions], directions)
    np.testing.assert_allclose(_dot(found, directions), wanted, rtol=2e-7, atol=2e-7)


@pytest.mark.parametrize(("op", "number"), GRAD_CASES, ids=case_id)
def test_second_gradient_is_the_numeric_one_of_the_first(op: Op, number: int):
    arrays = make_arrays(op, number, float64)
    positions = [i for i in calls.float_positions(arrays) if arrays[i].dtype == np.float64]
    weights, directions = _weights(op, number, arrays), _directions(arrays, positions)
    probes = calls.random_like([arrays[i] for i in positions], seed=9)

    def first(tensors: Sequence[Tensor], create_graph: bool) -> Tensor | None:
        total = None
        found = calls.input_gradients(op, number, tensors, weights, create_graph=create_graph)
        for gradient, probe in zip(found, probes):
            if gradient is not None:
                term = (gradient * wrap(probe)).sum()
                total = term if total is None else total + term
        return total

    def objective(moved: Sequence[np.ndarray]) -> float:
        value = first(calls.leaves(_replaced(arrays, positions, moved), positions), False)
        return 0.0 if value is None else float(value.item())

    tensors = calls.leaves(arrays, positions)
    total = first(tensors, True)
    if total is None:
        return
    found = [np.zeros(arrays[i].shape) for i in positions]
    if total.requires_grad:
        total.backward()
        found = [np.zeros(t.shape) if t.grad is None else t.grad.numpy() for t in (tensors[i] for i in positions)]
    wanted = directional_derivative(objective, [arrays[i] for i in positions], directions)
    np.testing.assert_allclose(_dot(found, directions), wanted, rtol=2e-6, atol=2e-6)


# Eager and traced -----------------------------------------------------------------------------------------------------


def _same_bytes(got: Sequence[Tensor], wanted: Sequence[np.ndarray]) -> None:
    assert len(got) == len(wanted)
    for tensor, array in zip(got, wanted):
        assert tensor.numpy().dtype == array.dtype and tensor.shape == array.shape
        assert tensor.numpy().tobytes() == array.tobytes()


@pytest.mark.parametrize(("op", "number"), TRACE_CASES, ids=case_id)
def test_traced_is_bitwise_equal_to_eager(op: Op, number: int):
    dtype = float64 if float64 in op.dtypes else op.dtypes[0]
    arrays, attrs = make_arrays(op, number, dtype), call_of(op, number).attrs
    if op.aliases_of(attrs) and op.name not in BUCKET_MEMBERS:
        _compare_updates(op, arrays, attrs)
        return
    positions = calls.float_positions(arrays) if calls.has_gradient(op, number) else []
    weights = _weights(op, number, arrays)

    def function(*tensors: Tensor) -> list[Tensor]:
        found = calls.input_gradients(op, number, tensors, weights) if positions else []
        # A packed op takes only values that the graph itself has made.
        inputs = [copy(tensor) for tensor in tensors] if op.name in BUCKET_MEMBERS else list(tensors)
        return [*apply_all(op, inputs, attrs), *(gradient for gradient in found if gradient is not None)]

    wanted = [tensor.numpy().copy() for tensor in function(*calls.leaves(arrays, positions))]
    traced = trace(passes=lambda graph: graph)(function)
    for _ in range(2):  # the second run uses the bound graph again
        _same_bytes(traced(*calls.leaves(arrays, positions)), wanted)


def _compare_updates(op: Op, arrays: Sequence[np.ndarray], attrs: dict) -> None:
    """State ops overwrite their inputs: fresh outputs, eager in place and traced in place must agree."""
    aliases = op.aliases_of(attrs)
    fresh = [tensor.numpy() for tensor in apply_all(op, [wrap(array.copy()) for array in arrays], attrs)]
    eager = [wrap(array.copy()) for array in arrays]
    _same_bytes(update(op, *eager, **attrs), fresh)
    for output, source in aliases.items():
        assert eager[source].numpy().tobytes() == fresh[output].tobytes()
    states = [wrap(array.copy()) for array in arrays]
    others = [i for i in range(len(fresh)) if i not in aliases]

    def function() -> list[Tensor]:
        outputs = update(op, *states, **attrs)
        return [outputs[i] for i in others]

    _same_bytes(trace(passes=lambda graph: graph)(function)(), [fresh[i] for i in others])
    for output, source in aliases.items():
        assert states[source].numpy().tobytes() == fresh[output].tobytes()


# What gradient rules read ---------------------------------------------------------------------------------------------

READS_CASES = [
    (op, number)
    for op, number in op_cases(lambda op: bool(op.view) or op.grad_reads != "all")
    if calls.has_gradient(op, number)
]


@pytest.mark.parametrize(("op", "number"), READS_CASES, ids=case_id)
def test_rules_read_no_more_elements_than_the_op_says(op: Op, number: int):
    """What a rule does not read may be overwritten before backward: the gradients stay."""
    arrays, attrs = make_arrays(op, number, float64), call_of(op, number).attrs
    for position in calls.float_positions(arrays):
        found = []
        for overwritten in (False, True):
            inputs = [wrap(array.copy()) for array in arrays]
            inputs[position].requires_grad_()
            outputs = apply_all(op, inputs, attrs)
            if overwritten:
                with no_grad():
                    inputs[position].fill_(77.0)
            outputs[0].backward(ones_like(outputs[0]))
            found.append(inputs[position].grad)
        assert found[0] is not None and found[1] is not None
        assert np.array_equal(found[0].numpy(), found[1].numpy())
