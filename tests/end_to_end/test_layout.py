"""An image in blocks of 16 channels all the way: traced, planned, trained, saved and loaded, shown."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
from helpers.laid_out import SHAPE, laid_out, padding

import dtrain as dt
import dtrain.functional as F
from dtrain import checkpoint, nn, optim
from dtrain.base.errors import CheckpointError, GraphError, LayoutError
from dtrain.base.layout import LAID_OUT, NCHW8C, NCHW16C, NHWC
from dtrain.base.tensor_type import tensor_type
from dtrain.checkpoint.structure import decode
from dtrain.graph.constant import CONSTANT
from dtrain.graph.graph import Graph, Node
from dtrain.graph.op import get_op
from dtrain.graph.printer import parse_graph
from dtrain.graph.verify import verify
from dtrain.passes.fold_constants import fold_constants
from dtrain.runtime.memory_plan import plan_memory

ARRAY = np.random.default_rng(3).standard_normal(SHAPE).astype(np.float32)
PADDED_NBYTES = 2 * 1 * 3 * 2 * 16 * 4


class Scaled(nn.Module):
    """An image times one weight a channel and pixel, in the layout of the weight."""

    def __init__(self, weight: dt.Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: dt.Tensor) -> dt.Tensor:
        return F.gelu(x.relayout(self.weight.type.layout) * self.weight)


def test_shown_in_logical_order() -> None:
    x = laid_out(ARRAY, NCHW16C)
    assert (x.shape, x.ndim, x.size, len(x)) == (SHAPE, 4, ARRAY.size, 2)
    assert x.type.nbytes == x.array.nbytes == PADDED_NBYTES > ARRAY.nbytes
    assert repr(x) == repr(dt.tensor(ARRAY)).replace("@cpu", "{NCHW16c}@cpu")
    assert x.tolist() == ARRAY.tolist() and np.asarray(x).tobytes() == ARRAY.tobytes()
    assert laid_out(ARRAY[:1, :1, :1, :1], NCHW16C).item() == ARRAY[0, 0, 0, 0]
    np.testing.assert_array_equal(np.from_dlpack(x), ARRAY)


def test_contiguous_means_the_order_of_the_axes() -> None:
    for layout in LAID_OUT:
        x = laid_out(ARRAY, layout)
        assert not x.is_contiguous()
        assert x.is_contiguous(memory_format=dt.channels_last) is (layout is NHWC)
        assert x.contiguous().type is tensor_type(SHAPE, dt.float32) and x.contiguous().is_contiguous()


def test_copies_and_pickles_stay_laid_out() -> None:
    x = laid_out(ARRAY, NCHW16C)
    for other in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), x.copy(), dt.tensor(x)):
        assert other.type is x.type and other.array is not x.array
        assert other.numpy().tobytes() == ARRAY.tobytes()
    ones = dt.ones_like(x)
    assert ones.type is x.type and ones.numpy().all() and not padding(ones).any()


def test_the_plan_has_room_for_padding() -> None:
    graph = Graph()
    x = graph.add_argument(tensor_type(SHAPE, dt.float32), "x")
    laid = graph.add_node(get_op("relayout"), [x], {"source": x.type.layout, "layout": NCHW16C}).outputs[0]
    first = graph.add_node(get_op("exp"), [laid]).outputs[0]
    second = graph.add_node(get_op("add"), [first, laid]).outputs[0]
    graph.outputs = [second]
    verify(graph)
    plan = plan_memory(graph)
    assert all(plan.storage[value].nbytes >= PADDED_NBYTES for value in (laid, first, second))
    places = sorted(plan.storage[value].offset for value in (laid, first))
    assert places[1] - places[0] >= PADDED_NBYTES, "both are alive at the second node"


def test_traced_steps_train_as_the_plain_ones() -> None:
    """Forward, backward and in-place changes of laid-out states; updates by hand, in the layout of the parameter."""
    weight = np.random.default_rng(4).standard_normal((1, *SHAPE[1:])).astype(np.float32)
    losses = []
    for layout in ("NCHW", "NCHW16c"):
        model = Scaled(laid_out(weight, NCHW16C).relayout(layout))

        @dt.trace
        def step(x, model=model):
            loss = model(x).relayout("NCHW").square().mean()
            loss.backward()
            with dt.no_grad():
                model.weight.assign_(model.weight - model.weight.grad * 0.5)
                model.weight.grad = None
            return loss

        losses.append([step(dt.tensor(ARRAY)).item() for _ in range(5)])
        assert model.weight.type is tensor_type((1, *SHAPE[1:]), dt.float32, model.weight.type.layout)
        losses[-1].append(model.weight.numpy().tobytes())
    assert losses[0] == losses[1] and losses[0][4] < losses[0][0]


def test_an_optimizer_says_what_to_do() -> None:
    model = Scaled(laid_out(ARRAY[:1], NCHW16C))
    model(dt.tensor(ARRAY)).relayout("NCHW").sum().backward()
    assert model.weight.grad.type is model.weight.type
    with pytest.raises(LayoutError, match=r"sgd_update: expected tensors in the plain layout, got .*NCHW16c.*relayout"):
        optim.SGD(model.parameters(), lr=0.1, momentum=0.9).step()


def test_a_traced_function_takes_and_gives_laid_out_tensors() -> None:
    x, state = laid_out(ARRAY, NCHW16C), laid_out(ARRAY, NCHW16C)

    @dt.trace
    def function(given):
        state.mul_(2)
        return F.exp(given), state + given

    for count in (1, 2):
        first, second = function(x)
        assert first.type is x.type is second.type
        np.testing.assert_array_equal(first.numpy(), F.exp(dt.tensor(ARRAY)).numpy())
        np.testing.assert_array_equal(second.numpy(), ARRAY * np.float32(2**count) + ARRAY)
    (graph,) = function.graphs
    assert "{NCHW16c}@cpu = exp(" in str(graph) and str(parse_graph(str(graph))) == str(graph)
    other = laid_out(ARRAY, NCHW8C)
    with pytest.raises(LayoutError, match="add: expected inputs of one layout"):
        function(other)


def test_a_state_that_lies_otherwise_is_another_capture() -> None:
    state = dt.tensor(ARRAY)

    @dt.trace
    def function():
        return F.exp(state)

    function()
    state.array, state.type = (moved := state.relayout("NCHW16c")).array, moved.type
    again = function()
    assert again.type is state.type and len(function.graphs) == 2


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%0: f32[1,4,3,3]{NCHW8c}@cpu = conv2d(%x, %w)", "conv2d takes, .*tensors in the plain layout"),
        ("%0: f32[1,8,5,5]@cpu = exp(%x)", r"exp to give f32\[1,8,5,5\]{NCHW8c}@cpu, got f32\[1,8,5,5\]@cpu"),
        ("%0: f32[4,8,3,3]{NHWC}@cpu = exp(%w)", r"exp to give f32\[4,8,3,3\]@cpu, got f32\[4,8,3,3\]{NHWC}@cpu"),
        ("%0: f32[1,8,5,5]{NCHW8c}@cpu = add(%x, %x8)", "that add takes, .*inputs of one layout"),
    ],
)  # fmt: skip
def test_verify_rejects_a_layout_that_no_rule_produced(line, said) -> None:
    attrs = "{stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1}" if "conv2d" in line else ""
    arguments = "%x: f32[1,8,5,5]{NCHW8c}@cpu, %w: f32[4,8,3,3]@cpu, %x8: f32[1,8,5,5]@cpu"
    graph = parse_graph(f"graph g({arguments}; ) {{\n  {line}{attrs}\n  return %0\n}}")
    with pytest.raises(GraphError, match=said):
        verify(graph)


def test_constants_fold_with_their_layout() -> None:
    graph = Graph()
    constant = Node(CONSTANT, (), (tensor_type(SHAPE, dt.float32),), {"value": ARRAY})
    graph.nodes.append(constant)
    plain = constant.outputs[0]
    laid = graph.add_node(get_op("relayout"), [plain], {"source": plain.type.layout, "layout": NCHW16C}).outputs[0]
    graph.outputs = [graph.add_node(get_op("exp"), [laid]).outputs[0]]
    fold_constants(graph)
    verify(graph)
    (value,) = graph.outputs
    assert value.node.op is CONSTANT and value.type is tensor_type(SHAPE, dt.float32, NCHW16C)
    text = str(graph)
    assert "type=type(f32[2,13,3,2]{NCHW16c}@cpu)" in text and str(parse_graph(text)) == text
    verify(parse_graph(text))


def test_a_file_holds_the_elements_in_logical_order() -> None:
    from safetensors.numpy import load as read_plainly

    file = io.BytesIO()
    x = laid_out(ARRAY, NCHW16C)
    checkpoint.save(file, {"x": x, "plain": dt.tensor(ARRAY)})
    arrays = read_plainly(file.getvalue())
    assert arrays["x"].tobytes() == arrays["plain"].tobytes() == ARRAY.tobytes(), "no padding, of whatever it holds"
    file.seek(0)
    back = checkpoint.load(file)
    assert back["x"].type is x.type and back["x"].numpy().tobytes() == ARRAY.tobytes()
    assert not padding(back["x"]).any()
    assert back["plain"].type is tensor_type(SHAPE, dt.float32)


def test_a_quantized_tensor_is_stored_as_its_integers() -> None:
    from dtrain.base.element import quantized

    element = quantized("s8", [0.1, 0.2, 0.3], [1, 2, 3], axis=1)
    x = dt.Tensor(np.arange(12, dtype=np.int8).reshape(2, 3, 2, 1), tensor_type((2, 3, 2, 1), element))
    for saved in (x, x.relayout("NCHW4c")):
        file = io.BytesIO()
        checkpoint.save(file, [saved])
        file.seek(0)
        (back,) = checkpoint.load(file)
        assert back.type is saved.type and back.array.tobytes() == saved.array.tobytes()


@pytest.mark.parametrize(("saved", "loaded"), [("NCHW", "NCHW16c"), ("NCHW16c", "NCHW"), ("NHWC", "NCHW8c")])
def test_a_model_takes_the_numbers_however_they_lie(saved, loaded) -> None:
    model, other = Scaled(dt.tensor(ARRAY).relayout(saved)), Scaled(dt.zeros(SHAPE).relayout(loaded))
    file = io.BytesIO()
    checkpoint.save(file, model.state_dict())
    file.seek(0)
    type = other.weight.type
    other.load_state_dict(checkpoint.load(file))
    assert other.weight.type is type and other.weight.numpy().tobytes() == ARRAY.tobytes()
    other.load_state_dict({"weight": -ARRAY})
    assert other.weight.type is type and other.weight.numpy().tobytes() == (-ARRAY).tobytes()


@pytest.mark.parametrize(
    "content",
    [
        "x", ["x"], ["x", 5], ["y", "f32[2,13,3,2]{NCHW16c}@cpu"], ["x", "f32[2,16,3,2]{NCHW16c}@cpu"],
        ["x", "f64[2,13,3,2]{NCHW16c}@cpu"], ["x", "f32[2,13,3,2]{NCHW17c}@cpu"], ["x", "f32[2,13,3,2]{NHWC}@cuda:0"],
        ["x", "qs8<0.1:0>[2,13,3,2]@cpu"], ["x", "qf32<0.1:0>[2,13,3,2]@cpu"], ["x", "f32[2,13,3,2"], ["x", {}],
    ],
)  # fmt: skip
def test_a_type_that_does_not_fit_is_refused(content) -> None:
    with pytest.raises(CheckpointError, match="structure of the checkpoint: expected"):
        decode({"$typed": content}, {"x": ARRAY})
