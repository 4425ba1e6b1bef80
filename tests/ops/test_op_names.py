"""One name per idea: an op is called as the public function that makes it, so that dumps, errors and `dtrain explain`
say what the script says. A new op is held to it by being registered."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import pytest
from helpers.op_calls import call_of, case_id, make_arrays

import dtrain.functional as F
from dtrain import collectives
from dtrain.base.errors import TraceError
from dtrain.capture.trace import trace
from dtrain.collectives.transports.self_communicator import SelfCommunicator
from dtrain.collectives.world.context import using
from dtrain.core.tensor import Tensor, wrap
from dtrain.graph.graph import Graph
from dtrain.graph.op import Op, all_ops
from dtrain.kernels.formula.table import ROWS

# A function of which another op is a part is in front of that op's name, and behind it one of these words.
PARTS = {
    "backward", "backward_data", "backward_weights", "backward_sums",  # of its gradient
    "statistics", "moments", "merge", "normalize", "update_running",  # of batch norm, which merges what ranks counted
    "mask",  # of dropout
    "many",  # packed: one call for what many calls do
}  # fmt: skip
OF_ROWS = {kernel.name for row in ROWS for kernel in row.backward_ops}  # gradients of formulas

# Ops that no public function is called as, each with the reason.
WITHOUT_FUNCTION = {
    "constant": "graphs make it",
    "to_device": "x.to(device), x.cpu() and x.cuda() make it; x.to(dtype) is another op",
    "take": "x[indices] makes it, index_select too, and both look alike to whom reads a graph",
    "take_backward": "the gradient of take",
    "sum_to_shape": "the gradient of what broadcasts",
    "spread": "the gradient of what sums along axes",
    "prod_of_others": "the gradient of prod",
    "softmax_cross_entropy": "cross_entropy of class numbers, before its weights and its reduction",
    "softmax_cross_entropy_backward": "the gradient of softmax_cross_entropy",
    "in_range": "functions of class numbers check them with it",
    "expect_finite": "functions of probabilities check them with it",
    "sgd_update": "optim.SGD makes it",
    "adam_update": "optim.Adam and optim.AdamW make it",
    "sync_batch_norm_sums": "SyncBatchNorm makes it in the gradients of its batch_norm",
}


def _functions() -> dict[str, Callable[..., Any]]:
    """The public functions that make ops, by name, without the aliases that other frameworks' words are."""
    found = {name: value for name, value in vars(F).items() if isinstance(value, FunctionType) and name[0] != "_"}
    return found | {name: getattr(collectives, name) for name in collectives._PUBLIC if name.islower()}


FUNCTIONS = _functions()
MADE_BY_ITS_FUNCTION = [op for op in all_ops() if op.name in FUNCTIONS]

X = (3, 4)
INDEX = wrap(np.array([[2, 0, 2, 2], [1, 0, 0, 2]]))
# How to call the functions whose parameters are not those of their op.
CALLS: dict[str, Callable[[Tensor], Any]] = {
    "reshape": lambda x: F.reshape(x, (2, 6)),
    "transpose": lambda x: F.transpose(x, (1, 0)),
    "concat": lambda x: F.concat([x, x]),
    "pad": lambda x: F.pad(x, (1, 1)),
    "layer_norm": lambda x: F.layer_norm(x, 4),
    "group_norm": lambda x: F.group_norm(x, 2),
    "rms_norm": lambda x: F.rms_norm(x, 4),
    "gather": lambda x: F.gather(x, 0, INDEX),
    "scatter": lambda x: F.scatter(x, 0, INDEX, x[:2, :4]),
    "scatter_add": lambda x: F.scatter_add(x, 0, INDEX, x[:2, :4]),
    "scatter_reduce": lambda x: F.scatter_reduce(x, 0, INDEX, x[:2, :4], "prod"),
    "set_item": lambda x: F.set_item(x, 1, 2.0),
    "index_put": lambda x: F.index_put(x, (INDEX[0],), 2.0),
    "uniform": lambda x: F.uniform(X),
    "normal": lambda x: F.normal(X),
    "randint": lambda x: F.randint(5, shape=X),
    "permutation": lambda x: F.permutation(5),
    "bernoulli": lambda x: F.bernoulli(X),
}


@pytest.mark.parametrize("op", MADE_BY_ITS_FUNCTION, ids=case_id)
def test_the_function_of_an_ops_name_makes_it(op: Op) -> None:
    arrays, attrs = make_arrays(op, 0, op.dtypes[0]), call_of(op, 0).attrs
    function = FUNCTIONS[op.name]
    given = {name: attrs[name] for name in inspect.signature(function).parameters if name in attrs}
    call = CALLS.get(op.name, lambda *tensors: function(*tensors, **given))
    if op.name in CALLS:
        arrays = [np.arange(12, dtype=np.float32).reshape(X)]
    made: set[str] = set()

    def look(graph: Graph) -> Graph:
        made.update(node.op.name for node in graph.nodes)
        return graph

    @trace(passes=look)
    def function_of_tensors(*tensors: Tensor) -> Tensor:
        call(*tensors)
        return tensors[0] + 1 if tensors else F.zeros(1)

    with using(SelfCommunicator()):
        if op.is_dynamic:
            with pytest.raises(TraceError, match=f"^{op.name} at"):
                function_of_tensors(*map(wrap, arrays))
        else:
            function_of_tensors(*map(wrap, arrays))
            assert op.name in made


@pytest.mark.parametrize("op", [op for op in all_ops() if op.name not in FUNCTIONS], ids=case_id)
def test_an_op_that_is_no_function_is_part_of_one_or_says_why(op: Op) -> None:
    is_part = any(op.name == f"{function}_{part}" for function in FUNCTIONS for part in PARTS)
    assert is_part or op.name in OF_ROWS or op.name in WITHOUT_FUNCTION, (
        f"call {op.name} as the function of dtrain.functional that makes it"
    )


def test_the_tables_hold_what_they_need() -> None:
    names, functions = {op.name for op in all_ops()}, set(FUNCTIONS)
    assert set(WITHOUT_FUNCTION) <= names - functions
    assert set(CALLS) <= names & functions
    unused = [part for part in PARTS if not any(f"{function}_{part}" in names for function in functions)]
    assert unused == []
