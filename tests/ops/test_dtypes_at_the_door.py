"""Every op computes in the dtypes that it claims (the enumeration) and refuses all others in our words."""

from __future__ import annotations

import operator

import numpy as np
import pytest
from helpers.op_calls import call_of, case_id, make_arrays, op_cases

import dtrain.functional as F
from dtrain.base.dtype import ALL, DType, from_numpy
from dtrain.base.errors import DtrainError, DtypeError
from dtrain.capture.trace import trace
from dtrain.core.apply import apply_all
from dtrain.core.tensor import wrap
from dtrain.core.tensor_factory import tensor
from dtrain.graph.op import Op, all_ops


def _has_shapes(op: Op) -> bool:
    return any(not isinstance(entry, np.ndarray) for entry in call_of(op, 0).inputs)


FIRST_CALLS = [(op, number) for op, number in op_cases() if number == 0 and _has_shapes(op)]
REFUSED = [(op, number, dtype) for op, number in FIRST_CALLS for dtype in ALL if dtype not in op.dtypes]


@pytest.mark.parametrize(("op", "number", "dtype"), REFUSED, ids=case_id)
def test_a_dtype_that_is_not_claimed_is_refused_in_our_words(op: Op, number: int, dtype: DType):
    arrays = make_arrays(op, number, dtype)
    with pytest.raises(DtrainError, match=r"expected .*, got"):
        apply_all(op, [wrap(array) for array in arrays], call_of(op, number).attrs)


def test_inputs_of_other_dtypes_are_declared():
    """An array in a call has a dtype of its own: the op claims it, or says that this input stands beside."""
    for op, number in op_cases():
        for position, entry in enumerate(call_of(op, number).inputs):
            if isinstance(entry, np.ndarray) and from_numpy(entry.dtype) not in op.dtypes:
                assert position in op.beside, f"{op.name} takes {entry.dtype} as input {position}: declare it in beside"


def test_every_op_claims_dtypes():
    assert all(op.dtypes for op in all_ops())


TRUTHS = [True, False]
REFUSES_BOOL = {
    "**": operator.pow, "//": operator.floordiv, "%": operator.mod, "-": operator.sub,
    "<<": operator.lshift, ">>": operator.rshift,
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSES_BOOL)
def test_arithmetic_of_truths(name: str):
    x = tensor(TRUTHS)
    for function in (REFUSES_BOOL[name], trace(REFUSES_BOOL[name])):
        with pytest.raises(DtypeError, match=r"expected .* got bool"):
            function(x, x)


@pytest.mark.parametrize("name", ["neg", "sign", "square"])
def test_signs_of_truths(name: str):
    with pytest.raises(
        DtypeError, match=r"expected inputs of dtype u8, s8, .*, got bool\[2\]@cpu; cast with .to\('s64'\)"
    ):
        getattr(F, name)(tensor(TRUTHS))


def test_truths_add_up_and_compare():
    x, y = tensor(TRUTHS), tensor([True, True])
    assert (x + y).tolist() == [True, True] and (x * y).tolist() == TRUTHS
    assert F.maximum(x, y).tolist() == [True, True] and abs(x).tolist() == TRUTHS
    assert F.matmul(x[None], y[:, None]).tolist() == [[True]]
    assert F.sort(x)[0].tolist() == [False, True]
    assert F.embedding(tensor([1]), tensor([[1, 2], [3, 4]])).tolist() == [[3, 4]]
    assert F.set_item(x, tensor([1]), True).tolist() == [True, True]
