"""Quantized elements: what moves them carries scale and zero point along, and every other op refuses them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from helpers.op_calls import WITHOUT_CALLS, call_of, case_id

import dtrain as dt
import dtrain.functional as F
from dtrain.base.element import Element, quantized
from dtrain.base.errors import DtypeError, GraphError
from dtrain.base.tensor_type import tensor_type
from dtrain.core.apply import apply_all
from dtrain.core.tensor import Tensor
from dtrain.graph.graph import Graph
from dtrain.graph.inference import infer_types
from dtrain.graph.op import Op, all_ops, get_op
from dtrain.graph.printer import parse_graph
from dtrain.graph.quantization_rules import QUANTIZATION_RULES
from dtrain.graph.verify import verify

# Written down once more: who takes this name out of the table has to say why.
CARRIERS = {"broadcast_to", "copy", "get_item", "relayout", "reshape", "to_device", "transpose"}
PER_TENSOR = quantized("s8", 0.05, 3)
PER_AXIS = quantized("u8", [0.1, 0.2, 0.4], [0, 128, 255], axis=1)


def _tensor(shape: tuple[int, ...], element: Element = PER_TENSOR) -> Tensor:
    numbers = np.arange(np.prod(shape)).reshape(shape).astype(element.storage.numpy)
    return Tensor(numbers, tensor_type(shape, element))


def test_the_table_of_carriers() -> None:
    assert {op.name for op in all_ops() if op.name in QUANTIZATION_RULES} == CARRIERS


@pytest.mark.parametrize("op", [op for op in all_ops() if op.name not in CARRIERS | set(WITHOUT_CALLS)], ids=case_id)
def test_every_other_op_refuses_with_one_error(op: Op) -> None:
    call = call_of(op, 0)
    shapes = [entry.shape if isinstance(entry, np.ndarray) else entry for entry in call.inputs]
    for position in range(len(shapes)):
        types = [tensor_type(shape, PER_TENSOR if i == position else op.dtypes[-1]) for i, shape in enumerate(shapes)]
        said = rf"^{op.name}: expected plain numbers, got .*qs8<0.05:3>.*it has no rule for quantized elements"
        with pytest.raises(DtypeError, match=said):
            infer_types(op, types, call.attrs)
        tensors = [Tensor(np.zeros(type.array_shape, type.array_dtype), type) for type in types]
        with pytest.raises(DtypeError, match=said):
            apply_all(op, tensors, call.attrs)
        with pytest.raises(DtypeError, match=said):
            dt.trace(lambda *given: apply_all(op, given, call.attrs))(*tensors)


@pytest.mark.parametrize(
    ("function", "shape", "element", "wanted"),
    [
        (lambda x: x.reshape(3, 4), (2, 6), PER_TENSOR, "qs8<0.05:3>[3,4]@cpu"),
        (lambda x: x.T, (2, 6), PER_TENSOR, "qs8<0.05:3>[6,2]@cpu"),
        (lambda x: x[1:, ::2], (2, 6), PER_TENSOR, "qs8<0.05:3>[1,3]@cpu"),
        (lambda x: x.copy(), (2, 6), PER_TENSOR, "qs8<0.05:3>[2,6]@cpu"),
        (lambda x: F.broadcast_to(x, (4, 3)), (1, 3), PER_AXIS, "qu8<[0.1,0.2,0.4]:[0,128,255]@1>[4,3]@cpu"),
        (lambda x: F.broadcast_to(x, (2, 4, 3)), (1, 3), PER_AXIS, "qu8<[0.1,0.2,0.4]:[0,128,255]@2>[2,4,3]@cpu"),
        (lambda x: x.T, (2, 3), PER_AXIS, "qu8<[0.1,0.2,0.4]:[0,128,255]@0>[3,2]@cpu"),
        (lambda x: x.reshape(2, 3, 2, 2), (2, 3, 4), PER_AXIS, "qu8<[0.1,0.2,0.4]:[0,128,255]@1>[2,3,2,2]@cpu"),
        (lambda x: x.reshape(1, 2, 3), (2, 3), PER_AXIS, "qu8<[0.1,0.2,0.4]:[0,128,255]@2>[1,2,3]@cpu"),
        (lambda x: x.relayout("NHWC"), (2, 3, 4, 1), PER_AXIS, "qu8<[0.1,0.2,0.4]:[0,128,255]@1>[2,3,4,1]{NHWC}@cpu"),
        (lambda x: x.relayout("NCHW4c"), (2, 3, 4, 1), PER_TENSOR, "qs8<0.05:3>[2,3,4,1]{NCHW4c}@cpu"),
    ],
)
def test_what_moves_elements_carries_the_quantization(function, shape, element, wanted) -> None:
    x = _tensor(shape, element)
    moved = function(x)
    assert str(moved.type) == wanted
    ints = function(Tensor(x.array, tensor_type(shape, element.storage)))
    assert moved.array.dtype == ints.array.dtype and moved.array.tobytes() == ints.array.tobytes()
    traced = dt.trace(function)(x)
    assert traced.type is moved.type and traced.array.tobytes() == moved.array.tobytes()


@pytest.mark.parametrize("function", [lambda x: x.reshape(6), lambda x: x[:, 1:], lambda x: x.reshape(3, 2)])
def test_scales_along_an_axis_need_the_axis(function) -> None:
    with pytest.raises(DtypeError, match=r"expected axis 1, along which the scales are, to stay as it is, got qu8<"):
        function(_tensor((2, 3), PER_AXIS))


def test_arguments_states_and_results_of_a_graph() -> None:
    state, x = _tensor((2, 3)), _tensor((3, 2))

    @dt.trace
    def step(given):
        before = state.T.copy()
        state.assign_(given.T.copy())
        return before, given

    for _ in range(2):
        held = state.array.copy()
        before, same = step(x)
        assert before.type is tensor_type((3, 2), PER_TENSOR) is same.type
        np.testing.assert_array_equal(before.array, held.T)
        np.testing.assert_array_equal(state.array, x.array.T)
        np.testing.assert_array_equal(same.array, x.array)
        x.array[...] += 1
    (graph,) = step.graphs
    text = str(graph)
    assert "qs8<0.05:3>[2,3]@cpu" in text and str(parse_graph(text)) == text
    verify(parse_graph(text))


def test_a_graph_with_an_op_that_has_no_rule_is_not_well_formed() -> None:
    graph = Graph()
    x = graph.add_argument(tensor_type((2, 3), PER_TENSOR), "x")
    with pytest.raises(DtypeError, match="relu: expected plain numbers"):
        graph.add_node(get_op("relu"), [x])
    text = "graph g(%x: qs8<0.05:3>[2,3]@cpu; ) {\n  %0: qs8<0.05:3>[2,3]@cpu = relu(%x)\n  return %0\n}"
    with pytest.raises(GraphError, match=r"verify: expected inputs and attributes that relu takes, got qs8<0.05:3>"):
        verify(parse_graph(text))
    claimed = text.replace("relu", "copy").replace("%0: qs8<0.05:3>", "%0: qs8<0.05:4>")
    with pytest.raises(GraphError, match=r"copy to give qs8<0.05:3>\[2,3\]@cpu, got qs8<0.05:4>"):
        verify(parse_graph(claimed))


def test_another_scale_is_another_capture() -> None:
    @dt.trace
    def function(x):
        return x.T

    function(_tensor((2, 3)))
    function(_tensor((2, 3), quantized("s8", 0.25)))
    assert len(function.graphs) == 2


def test_a_quantized_tensor_shows_what_it_stores_and_gives_out_no_numbers() -> None:
    x = _tensor((2, 2))
    assert repr(x) == "Tensor([[0, 1],\n        [2, 3]], qs8<0.05:3>[2,2]@cpu)"
    assert x.dtype is dt.qint8 and not x.dtype.is_floating and not x.dtype.is_integer
    for take in (Tensor.numpy, Tensor.tolist, lambda t: t[0, 0].item(), lambda t: float(t[0, 0]), np.asarray):
        with pytest.raises(DtypeError, match=r"expected plain numbers, got qs8.*x\.array holds the stored integers"):
            take(x)


def test_copies_and_pickles_keep_the_element() -> None:
    x = _tensor((2, 3), PER_AXIS)
    for other in (copy.deepcopy(x), pickle.loads(pickle.dumps(x))):
        assert other.type is x.type and other.array.tobytes() == x.array.tobytes()


def test_only_equal_elements_are_written_into_a_quantized_tensor() -> None:
    x, same, other = _tensor((2, 2)), _tensor((2, 2)), _tensor((2, 2), quantized("s8", 0.05, 4))
    same.array[...] = 7
    assert x.copy_(same).array.tolist() == [[7, 7], [7, 7]]
    with pytest.raises(DtypeError, match=r"copy_.*elements that stand for the same numbers .*qs8<0.05:4>.*qs8<0.05:3>"):
        x.copy_(other)
    assert x.array.tolist() == [[7, 7], [7, 7]]


@pytest.mark.parametrize("wrap", [lambda write: write, dt.trace], ids=["eager", "traced"])
@pytest.mark.parametrize(
    "values",
    [1, 1.5, True, [7, 8], np.array([7, 8], np.int8), dt.tensor([7, 8], dtype="s8"),
     _tensor((2,), quantized("s8", 0.025, 3)), _tensor((2,), quantized("u8", 0.05, 3))],
    ids=str,
)  # fmt: skip
def test_an_index_writes_only_equal_elements_into_a_quantized_tensor(values, wrap) -> None:
    def write(x: Tensor) -> None:
        x[0] = values

    x = _tensor((2, 2))
    said = r"x\[\.\.\.\] = values: expected elements that stand for the same numbers .* for qs8<0.05:3>"
    with pytest.raises(DtypeError, match=said):
        wrap(write)(x)
    assert x.array.tolist() == [[0, 1], [2, 3]]
    x[0] = x[1]
    assert x.array.tolist() == [[2, 3], [2, 3]]


def test_numbers_do_not_become_quantized_by_naming_a_dtype() -> None:
    for data in (3, [1, 2], np.ones(2, np.int8), dt.ones(2)):
        with pytest.raises(DtypeError, match="give scale and zero point"):
            dt.tensor(data, dtype=PER_TENSOR.dtype)


@pytest.mark.parametrize("number", [3, 1.5, True, 0])
def test_comparing_with_a_number_is_refused_in_words(number) -> None:
    x = _tensor((2, 2))
    for compare in (lambda: number in x, lambda: x == number, lambda: number != x, lambda: x < number):
        with pytest.raises(DtypeError, match=r"expected plain numbers, got .*it has no rule for quantized elements"):
            compare()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x + 1,
        lambda x: x * 0.5,
        lambda x: x + dt.ones((2, 2)),
        lambda x: F.where(True, x, 1.0),
        lambda x: x.to("f32"),
        F.relu,
        F.exp,
        dt.zeros_like,
        lambda x: x.requires_grad_(),
        lambda x: x.copy_(dt.ones((2, 2))),
        lambda x: x.fill_(1),
        lambda x: dt.ones((2, 2)).copy_(x),
        lambda x: F.concat([x, x]),
        lambda x: x.sum(),
        lambda x: x == x,
    ],
)
def test_what_people_write_is_refused_too(function) -> None:
    x = _tensor((2, 2))
    with pytest.raises(DtypeError):
        function(x)
    assert x.array.tolist() == [[0, 1], [2, 3]]
