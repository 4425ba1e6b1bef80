"""What a captured graph calls its states and nodes: names of `named_parameters`, scopes of modules, lines of users."""

from __future__ import annotations

import gc
import inspect
import weakref
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import models, nn, optim
from dtrain.graph.graph import Graph, Node
from dtrain.graph.printer import parse_graph, print_graph


def names(traced: Any) -> list[str]:
    found = [value.name for value in traced.graphs[-1].states]
    assert len(set(found)) == len(found), "names are unique"
    return found


def x_of(*shape: int) -> dt.Tensor:
    return dt.tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        self.linear = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: dt.Tensor) -> dt.Tensor:
        return F.relu(self.norm(self.linear(x)))


class Net(nn.Module):
    def __init__(self, width: int = 4) -> None:
        self.blocks = [Block(width), Block(width)]
        self.head = {"out": nn.Linear(width, 2)}
        self.scale = dt.Parameter(np.ones(2, np.float32))

    def forward(self, x: dt.Tensor) -> dt.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head["out"](x) * self.scale


def test_every_state_of_a_resnet_step_has_the_name_that_named_parameters_gives() -> None:
    model = models.resnet18(num_classes=3)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @dt.trace
    def step(images: dt.Tensor, labels: dt.Tensor) -> dt.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    step(x_of(2, 3, 16, 16), dt.tensor([0, 2]))
    parameters = [name for name, _ in model.named_parameters()]
    buffers = [name for name, _ in model.named_buffers()]
    moments = [f"{name}.momentum_buffer" for name in parameters]
    assert sorted(names(step)) == sorted([*parameters, *buffers, *moments, "optimizer.lr"])
    graph = step.graphs[0]
    text = print_graph(graph)
    assert "%layer1.0.conv1.weight: f32[64,64,3,3]@cpu" in text
    assert "%layer1.0.conv1.weight <- " in text and "%bn1.running_mean <- " in text
    assert print_graph(parse_graph(text)) == text
    convolutions = [node for node in graph.nodes if node.op.name == "conv2d"]
    assert [f"{node.scope}.weight" for node in convolutions] == [node.inputs[1].name for node in convolutions]
    for node in graph.nodes:
        if node.op.name == "conv2d_backward_weights":
            weight = graph.states[next(i for i, name in enumerate(names(step)) if name == f"{node.scope}.weight")]
            assert weight.type is node.outputs[0].type
    assert {node.scope for node in graph.nodes if node.op.name == "sgd_update"} == {"optimizer"}


def line_of(function: Any, text: str) -> str:
    lines, first = inspect.getsourcelines(function)
    return f"test_naming.py:{first + next(i for i, line in enumerate(lines) if text in line)}"


def nodes(graph: Graph, op: str) -> list[Node]:
    return [node for node in graph.nodes if node.op.name == op]


def test_what_backward_records_comes_from_the_line_and_the_module_of_its_forward() -> None:
    model = Net()

    def function(x: dt.Tensor) -> tuple[dt.Tensor, dt.Tensor]:
        y = model(x)
        z = F.exp(y)
        z.sum().backward()
        return z, model.scale.grad

    traced = dt.trace(function)
    traced(x_of(3, 4))
    graph = traced.graphs[0]
    assert {(node.scope, node.source) for node in nodes(graph, "relu_backward")} == {
        ("blocks.0", line_of(Block.forward, "F.relu")),
        ("blocks.1", line_of(Block.forward, "F.relu")),
    }
    assert {node.scope for node in nodes(graph, "batch_norm_backward_sums")} == {"blocks.0.norm", "blocks.1.norm"}
    products = {(node.scope, node.source) for node in graph.nodes if node.op.name == "mul"}
    assert products == {("", line_of(Net.forward, "self.scale")), ("", line_of(function, "F.exp"))}
    assert not any(node.source == line_of(function, "backward()") for node in nodes(graph, "matmul"))


def test_second_derivatives_come_from_there_too() -> None:
    def function(x: dt.Tensor) -> dt.Tensor:
        y = F.exp(x)
        (first,) = dt.grad(y.sum(), x, create_graph=True)
        (second,) = dt.grad(first.sum(), x)
        return second

    traced = dt.trace(function)
    x = x_of(3).requires_grad_()
    traced(x)
    assert {node.source for node in nodes(traced.graphs[0], "mul")} == {line_of(function, "F.exp")}


def test_a_custom_function_is_the_origin_of_its_gradient() -> None:
    class Double(dt.Function):
        def forward(self, x: dt.Tensor) -> dt.Tensor:
            return x + x

        def backward(self, grad: dt.Tensor) -> dt.Tensor:
            return grad * 2.0

    def function(x: dt.Tensor) -> tuple[dt.Tensor, dt.Tensor]:
        y = Double()(x)
        (gradient,) = dt.grad(F.exp(y).sum(), x)
        return y, gradient

    traced = dt.trace(function)
    traced(x_of(3).requires_grad_())
    (add,), (*_, multiply) = (nodes(traced.graphs[0], op) for op in ("add", "mul"))
    assert multiply.source == add.source == line_of(Double.forward, "x + x")


def test_arguments_have_the_names_that_the_function_gives_them() -> None:
    weight = dt.Parameter(np.ones(2, np.float32), name="x")

    @dt.trace
    def run(x: dt.Tensor, batch: Any, *rest: dt.Tensor, scale: dt.Tensor) -> dt.Tensor:
        return x * weight + batch[0] * batch[1]["mask"] + rest[0] * scale

    x = x_of(2)
    run(x, (x_of(2), {"mask": x_of(2)}), x_of(2), scale=x_of(2))
    assert names(run) == ["x"]
    assert [value.name for value in run.graphs[0].arguments] == ["x_2", "batch.0", "batch.1.mask", "rest.0", "scale"]


def test_two_models_are_told_apart_by_the_variables_that_hold_them() -> None:
    generator, critic = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 1))

    @dt.trace
    def both(x: dt.Tensor) -> dt.Tensor:
        return critic(generator(x))

    both(x_of(3, 2))
    assert names(both) == ["generator.0.weight", "generator.0.bias", "critic.0.weight", "critic.0.bias"]
    assert [node.scope for node in both.graphs[0].nodes][-1] == "critic.0"


def test_without_variables_they_have_the_names_of_their_classes() -> None:
    pair = {"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)}

    @dt.trace
    def both(x: dt.Tensor) -> dt.Tensor:
        return pair["b"](pair["a"](x))

    both(x_of(3, 2))
    assert sorted(names(both)) == ["Linear.bias", "Linear.weight", "Linear_2.bias", "Linear_2.weight"]


def test_a_loss_module_needs_no_name_among_states() -> None:
    model, criterion = nn.Linear(2, 3), nn.CrossEntropyLoss()

    @dt.trace
    def loss_of(x: dt.Tensor, labels: dt.Tensor) -> dt.Tensor:
        return criterion(model(x), labels)

    loss_of(x_of(2, 2), dt.tensor([0, 1]))
    assert names(loss_of) == ["weight", "bias"]
    assert loss_of.graphs[0].nodes[-1].scope == "criterion"


def test_tied_parameters_are_one_state_under_the_first_name() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            self.first, self.second = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x: dt.Tensor) -> dt.Tensor:
            return self.second(self.first(x))

    model = Tied()
    traced = dt.trace(lambda x: model(x))
    traced(x_of(3, 2))
    assert names(traced) == [name for name, _ in model.named_parameters()] == ["first.weight"]
    assert {node.scope for node in traced.graphs[0].nodes} == {"first", "second"}


class ByHand:
    def __init__(self) -> None:
        self.hidden = [dt.Parameter(np.ones((2, 2), np.float32)) for _ in range(2)]
        self.out = dt.Parameter(np.ones((2, 1), np.float32), name="given")
        self.count = dt.tensor(0.0)

    def step(self, x: dt.Tensor) -> dt.Tensor:
        for weight in self.hidden:
            x = x @ weight
        return x @ self.out + self.count


def test_models_made_by_hand_are_named_by_what_holds_their_tensors() -> None:
    net, weights, bias = ByHand(), (dt.Parameter(np.ones((1, 1), np.float32)),), dt.tensor([1.0])

    @dt.trace
    def run(x: dt.Tensor) -> dt.Tensor:
        return net.step(x) @ weights[0] + bias

    run(x_of(3, 2))
    assert names(run) == ["net.hidden.0", "net.hidden.1", "given", "net.count", "weights.0", "bias"]
    method = dt.trace(net.step)
    method(x_of(3, 2))
    assert names(method) == ["hidden.0", "hidden.1", "given", "count"]


def test_an_optimizer_names_what_nobody_else_does() -> None:
    def make() -> tuple[Any, list[Any]]:
        parameters = [dt.Parameter(np.ones(2, np.float32)) for _ in range(2)]
        return optim.Adam(iter(parameters)), parameters

    optimizer, parameters = make()
    reach = {"it": lambda: parameters}

    @dt.trace
    def step(x: dt.Tensor) -> None:
        optimizer.zero_grad()
        first, second = reach["it"]()
        (first * second * x).sum().backward()
        optimizer.step()

    step(x_of(2))
    found = names(step)
    assert {"optimizer.params.0", "optimizer.params.1.exp_avg", "optimizer.lr", "optimizer.step"} <= set(found)


def test_gradients_from_before_are_named_after_their_leaf() -> None:
    model = nn.Linear(2, 1)
    model(x_of(3, 2)).sum().backward()

    @dt.trace
    def again(x: dt.Tensor) -> None:
        model(x).sum().backward()

    again(x_of(3, 2))
    assert set(names(again)) == {"weight", "bias", "weight.grad", "bias.grad"}


def test_names_that_were_given_twice_get_numbers() -> None:
    first, second = (dt.Parameter(np.ones(2, np.float32), name="w") for _ in range(2))

    @dt.trace
    def add() -> dt.Tensor:
        return first + second

    add()
    assert names(add) == ["w", "w_2"]


def test_a_capture_keeps_no_model_alive_by_its_names() -> None:
    """No cycle: the model goes with the last reference, without the garbage collector."""

    def make() -> tuple[Any, Any]:
        model = Net()
        return dt.trace(lambda x: model(x)), weakref.ref(model)

    gc.collect()
    gc.disable()
    try:
        traced, model = make()
        traced(x_of(3, 4))
        assert model() is not None
        del traced
        assert model() is None
    finally:
        gc.enable()


def test_an_error_of_a_run_names_the_module_and_the_line() -> None:
    class Pick(nn.Module):
        def forward(self, x: dt.Tensor, index: dt.Tensor) -> dt.Tensor:
            return x[index]

    model = nn.Identity()
    model.pick = Pick()
    traced = dt.trace(lambda x, index: model.pick(model(x), index))
    with pytest.raises(IndexError) as caught:
        traced(x_of(3), dt.tensor([5]))
    if hasattr(caught.value, "add_note"):  # Python 3.11
        assert caught.value.__notes__ == [f"in take of model.pick, traced from {line_of(Pick.forward, 'x[index]')}"]


def test_an_error_inside_a_module_leaves_its_scope() -> None:
    class Refusing(nn.Module):
        def forward(self, x: dt.Tensor) -> dt.Tensor:
            raise KeyError("refused")

    refusing, model = Refusing(), nn.Linear(2, 2)

    @dt.trace
    def run(x: dt.Tensor) -> dt.Tensor:
        with pytest.raises(KeyError):
            refusing(x)
        return model(x) + 1.0

    run(x_of(3, 2))
    assert nodes(run.graphs[0], "add")[-1].scope == ""
