"""What an op promises to raise for values of its inputs is raised eagerly, and by a graph that ignores its result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.op_calls import call_of, case_id, make_arrays, op_cases

import dtrain as dt
import dtrain.functional as F
from dtrain.base.dtype import float64
from dtrain.capture.trace import trace
from dtrain.core.apply import apply_all
from dtrain.core.tensor import Tensor, wrap
from dtrain.core.tensor_factory import tensor
from dtrain.graph.op import Op
from dtrain.ops.value_checks import expect_finite

FAR = 1_000_000


def _holds_indices(op: Op, number: int) -> bool:
    entries = call_of(op, number).inputs
    return not op.is_collective and any(isinstance(e, np.ndarray) and e.dtype.kind == "i" and e.size for e in entries)


INDEX_CASES = [(op, number) for op, number in op_cases() if _holds_indices(op, number)]


def _out_of_range(op: Op, number: int) -> list[np.ndarray]:
    """The inputs of the call with one index far outside."""
    arrays = make_arrays(op, number, float64 if float64 in op.dtypes else op.dtypes[-1])
    for position, entry in enumerate(call_of(op, number).inputs):
        if isinstance(entry, np.ndarray) and entry.dtype.kind == "i" and entry.size:
            arrays[position] = arrays[position].copy()
            arrays[position].reshape(-1)[-1] = FAR
            break
    return arrays


# Their integers are numbers like others, or are made by ops that have checked them.
UNCHECKED = {"adam_update", "nonzero", "unique", "max_pool2d_backward", "softmax_cross_entropy_backward"}
# Theirs are the state of a generator.
DRAWS = {"uniform", "normal", "randint", "permutation", "bernoulli", "dropout_mask"}


@pytest.mark.parametrize(("op", "number"), INDEX_CASES, ids=case_id)
def test_every_op_that_takes_indices_declares_its_check_and_keeps_it(op: Op, number: int):
    if op.name in UNCHECKED | DRAWS:
        return
    arrays, attrs = _out_of_range(op, number), call_of(op, number).attrs
    assert op.checks_values([wrap(array).type for array in arrays]), f"{op.name} takes indices: declare checks"
    with pytest.raises((ValueError, IndexError), match=r"expected .*got") as eager:
        apply_all(op, [wrap(array) for array in arrays], attrs)

    def ignoring(*inputs: Tensor) -> Tensor:
        apply_all(op, list(inputs), attrs)
        return inputs[0] + 1

    with pytest.raises((ValueError, IndexError)) as traced:
        trace(ignoring)(*[wrap(array) for array in arrays])
    assert str(traced.value) == str(eager.value)


def _embedding_gradient(weight: Tensor, index: Tensor) -> Tensor:
    return dt.grad(F.embedding(index, weight).sum(), [weight])[0]


TABLE = np.arange(6.0).reshape(3, 2)
SCORES = np.zeros((2, 2))

DEAD: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "embedding": (_embedding_gradient, (TABLE, [-4])),
    "take": (lambda w, i: dt.grad(w[i].sum(), [w])[0], (TABLE, [3])),
    "index_select": (lambda w, i: dt.grad(F.index_select(w, 0, i).sum(), [w])[0], (TABLE, [-4])),
    "gather": (lambda w, i: dt.grad(F.gather(w, 1, i).sum(), [w])[0], (TABLE, [[5]])),
    "scatter_add": (lambda w, i: dt.grad(F.scatter_add(w, 0, i, w[:1, :1]).sum(), [w])[0], (TABLE, [[7]])),
    "index_add": (lambda w, i: dt.grad(F.index_add(w, 0, i, w[:1]).sum(), [w])[0], (TABLE, [7])),
    "set_item": (lambda w, i: F.set_item(w, i, 0.0).sum() * 0 + w.sum(), (TABLE, [7])),
    "nll_loss": (lambda x, t: F.nll_loss(x, t), (SCORES, [0, 7])),
    "nll_loss, none used": (lambda x, t: F.nll_loss(x, t).sum() * 0 + x.sum(), (SCORES, [0, 2])),
    "cross_entropy": (lambda x, t: dt.grad(F.cross_entropy(x, t), [x])[0], (SCORES, [0, -1])),
    "floor_div": (lambda x, y: (F.floor_div(y, x.to("s64")), x)[1], (TABLE, [1, 2])),
    "mod": (lambda x, y: (F.mod(y, x.to("s64")), x)[1], (TABLE, [1, 2])),
    "pow": (lambda x, y: (F.pow(y, y), x)[1], (TABLE, [-1])),
    "binary_cross_entropy": (lambda p, t: (F.binary_cross_entropy(p, t), p)[1], ([0.5, 1.5], [1.0, 0.0])),
}


@pytest.mark.parametrize("name", DEAD)
def test_a_traced_function_raises_what_the_eager_one_raises(name: str):
    function, (first, second) = DEAD[name]

    def arguments() -> tuple[Tensor, Tensor]:
        return tensor(first, requires_grad=True), tensor(np.asarray(second))

    with pytest.raises((ValueError, IndexError, ZeroDivisionError), match=r"expected .*got") as eager:
        function(*arguments())
    with pytest.raises(eager.type) as traced:
        trace(function)(*arguments())
    assert str(traced.value) == str(eager.value)


def test_unread_arithmetic_on_floats_is_still_removed():
    def function(x: Tensor) -> Tensor:
        F.pow(x, 3.0), F.floor_div(x, 2.0), F.mod(x, 2.0)
        return x + 1

    traced = trace(function)
    traced(tensor([1.0]))
    assert [node.op.name for node in traced.graphs[0].nodes if node.op.name != "constant"] == ["add"]


def test_an_expected_finite_value_that_nobody_uses_is_looked_at_in_a_graph_too():
    @dt.trace
    def step(x):
        expect_finite(1 / x, where="step", what="a finite inverse")
        return x + 1

    assert step(dt.tensor([1.0, 2.0])).tolist() == [2, 3]
    with pytest.raises(RuntimeError, match="step: expected a finite inverse, got inf"):
        step(dt.tensor([1.0, 0.0]))
