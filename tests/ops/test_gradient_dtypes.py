"""Every gradient rule in every floating dtype that its op claims, against the same rule in f64, by enumeration."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import op_calls as calls
from helpers.op_calls import call_of, case_id, make_arrays, op_cases, run

from dtrain.base.dtype import DType, bfloat16, float16, float32, float64, from_numpy
from dtrain.collectives.transports.self_communicator import SelfCommunicator
from dtrain.collectives.world.context import using
from dtrain.graph.op import Op

# Of the largest element: a gradient rule makes several steps, and each rounds to the dtype.
TOLERANCE = {float16: 2e-2, bfloat16: 1.5e-1, float32: 1e-4}

CASES = [
    (op, number, dtype)
    for op, number in op_cases()
    if calls.has_gradient(op, number)
    for dtype in TOLERANCE
    if dtype in op.dtypes and float64 in op.dtypes
]


@pytest.fixture(autouse=True, scope="module")
def _world_of_one():
    """Collective ops run alone, where they are identities up to shape."""
    with using(SelfCommunicator()):
        yield


@pytest.mark.parametrize(("op", "number", "dtype"), CASES, ids=case_id)
def test_gradient_agrees_with_the_one_in_f64(op: Op, number: int, dtype: DType) -> None:
    arrays = make_arrays(op, number, dtype)
    positions = [i for i, entry in enumerate(call_of(op, number).inputs) if not isinstance(entry, np.ndarray)]
    wide = [array.astype(np.float64) if i in positions else array for i, array in enumerate(arrays)]
    weights = [
        np.ones(output.shape) if from_numpy(output.dtype).is_floating else np.zeros(output.shape)
        for output in run(op, number, wide)
    ]
    found = calls.input_gradients(op, number, calls.leaves(arrays, positions), weights)
    wanted = calls.input_gradients(op, number, calls.leaves(wide, positions), weights)
    for position, got, reference in zip(positions, found, wanted, strict=True):
        assert (got is None) == (reference is None)
        if got is None or reference is None:
            continue
        assert got.dtype is from_numpy(arrays[position].dtype)
        scale = max(1.0, float(np.abs(reference.numpy()).max(initial=0.0)))
        np.testing.assert_allclose(
            got.numpy().astype(np.float64), reference.numpy(), rtol=0, atol=TOLERANCE[dtype] * scale
        )
