"""What is known of ops without tensors: a graph from its text is verified, optimized, relaid out and run by it."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn, optim
from dtrain.base.element import quantized
from dtrain.base.tensor_type import tensor_type
from dtrain.core.tensor import Tensor
from dtrain.graph.graph import Graph
from dtrain.graph.op import Op, get_op, gradient_of
from dtrain.graph.printer import print_graph

# A process without the public face, which brings tensors. It tells which rooms of the package it has loaded.
PROGRAM = """
import sys, types
package = types.ModuleType("dtrain")
package.__path__ = [sys.argv[1]]
sys.modules["dtrain"] = package

import numpy as np
import dtrain.opset
from dtrain.base.errors import DtrainError
from dtrain.graph.printer import parse_graph, print_graph
from dtrain.graph.verify import verify
from dtrain.passes import DEFAULT_PIPELINE
from dtrain.runtime.executor import Executor
from dtrain.runtime.state import StateCell

given = np.load(sys.argv[2])
graph = parse_graph(open(sys.argv[3], encoding="utf-8").read())
try:
    verify(graph)
except DtrainError as error:
    sys.exit(f"refused: {error}")
DEFAULT_PIPELINE(graph)
states = [StateCell(given[f"state{i}"], type=value.type) for i, value in enumerate(graph.states)]
executor = Executor(graph, states)
for turn in range(2):
    results = executor.run([given[f"argument{i}"] for i in range(len(graph.arguments))])
np.savez(sys.argv[4], *results, *(state.array for state in states))
print(*sorted({name.split(".")[1] for name in sys.modules if name.startswith("dtrain.")}))
print(len(executor.plan.copied_updates))
print(print_graph(graph, sources=False))
"""


def run(text: str, arguments: list[Any], states: list[Any], folder: Path) -> subprocess.CompletedProcess[str]:
    given = {f"argument{i}": array for i, array in enumerate(arguments)}
    np.savez(folder / "given.npz", **given, **{f"state{i}": array for i, array in enumerate(states)})
    (folder / "graph.txt").write_text(text, encoding="utf-8")
    places = (find_spec("dtrain").submodule_search_locations or [])[0]  # type: ignore[union-attr]
    files = [str(folder / name) for name in ("given.npz", "graph.txt", "made.npz")]
    command = [sys.executable, "-c", PROGRAM, places, *files]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def expect_same(traced: Any, plain: Any, arguments: list[Tensor], folder: Path) -> None:
    """The graph that `plain` captured gives there, once optimized, the text and the bits of `traced`."""
    optimized = traced.compiled[0]
    states = [np.array(state.array) for state in optimized.executor.states]
    ended = run(print_graph(plain), [x.array for x in arguments], states, folder)
    assert ended.returncode == 0, ended.stderr
    rooms, copied, text = ended.stdout.split("\n", 2)
    assert rooms.split() == ["base", "graph", "kernels", "opset", "passes", "runtime"]
    assert int(copied) == len(optimized.executor.plan.copied_updates)
    assert text.rstrip() == print_graph(optimized.graph, sources=False).rstrip()
    assert len(optimized.graph.nodes) < len(plain.nodes)
    for _ in range(2):
        result = traced(*arguments)
    with np.load(folder / "made.npz") as made:
        found = [made[name].tobytes() for name in made.files]
    results = [result] if isinstance(result, Tensor) else list(result)
    assert found[: len(results)] == [one.array.tobytes() for one in results]
    assert found[len(optimized.graph.outputs) :] == [state.array.tobytes() for state in optimized.executor.states]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(4 * 3 * 3, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(F.gelu(self.norm(self.conv(x))))
        return self.head(F.dropout(x, 0.25, training=self.training).flatten(1))


def captured(function: Any, arguments: list[Tensor]) -> Graph:
    """The graph as it is before any pass."""
    plain = dt.trace(passes=lambda graph: graph)(function)
    plain(*arguments)
    graph: Graph = plain.graphs[0]
    return graph


def test_a_training_step_is_verified_and_optimized_without_tensors(tmp_path: Path) -> None:
    dt.manual_seed(5)
    net = Net()
    optimizer = optim.Adam(net.parameters(), lr=0.01)

    def step(x: Tensor, labels: Tensor) -> Tensor:
        loss = F.cross_entropy(net(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss * 1 + 0 * loss

    arguments = [dt.randn(4, 3, 6, 6), dt.arange(4)]
    dt.trace(step)(*arguments)  # gradients and moments are there from now on
    plain = captured(step, arguments)
    traced = dt.trace(step)
    before = [parameter.numpy().copy() for parameter in net.parameters()]
    traced(*arguments)
    assert any((parameter.numpy() != old).any() for parameter, old in zip(net.parameters(), before))
    expect_same(traced, plain, arguments, tmp_path)


def test_images_that_are_laid_out_and_quantized_elements_follow_the_rules_of_the_ops(tmp_path: Path) -> None:
    integers = np.arange(6, dtype=np.int8).reshape(2, 3)
    q = Tensor(integers, tensor_type((2, 3), quantized("s8", [0.5, 0.25, 1.0], [0, 1, 2], axis=1)))

    def function(x: Tensor, q: Tensor) -> tuple[Tensor, Tensor]:
        y = x.relayout("NCHW8c")
        return (y * 2 + y * 2).relayout("NCHW"), q.T.reshape(3, 2)

    arguments = [dt.randn(2, 5, 3, 3), q]
    plain = captured(function, arguments)
    traced = dt.trace(function)
    traced(*arguments)
    expect_same(traced, plain, arguments, tmp_path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%0: f32[3]@cpu = exp(%x)", r"f32\[3\]"),
        ("%0: f32[2]@cpu = matmul(%x, %x)", "matmul"),
        ("%0: s32[2]@cpu = add(%x, %x)", r"s32\[2\]"),
    ],
)
def test_a_text_that_claims_other_types_is_refused_there(line: str, said: str, tmp_path: Path) -> None:
    text = f"graph g(%x: f32[2]@cpu; ) {{\n  {line}\n  return %0\n}}"
    ended = run(text, [np.zeros(2, np.float32)], [], tmp_path)
    assert ended.returncode == 1
    assert re.search(f"refused: .*{said}", ended.stderr, re.DOTALL)


def test_an_op_has_one_gradient_rule() -> None:
    exp = get_op("exp")
    with pytest.raises(ValueError, match="gradient rule of exp: expected one an op, got a second one"):
        gradient_of(exp)(lambda node, *grads: grads)
    fresh = Op(name="test_fresh", infer=lambda x: x)
    rule = gradient_of(fresh)(lambda node, *grads: grads)
    assert fresh.grad is rule
