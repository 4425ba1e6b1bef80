"""A graph's text runs on arrays alone: no tensors, no gradients, no families of ops in the process."""

from __future__ import annotations

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
from dtrain.base.errors import DtypeError, GraphError, LayoutError
from dtrain.graph.printer import parse_graph, print_graph
from dtrain.runtime.deployed import op_to_run, parse_to_run
from dtrain.runtime.executor import Executor
from dtrain.runtime.state import StateCell

# `import dtrain` is the public face and brings tensors; a process without them makes the package without its face.
WITHOUT_FACE = """
import sys, types
package = types.ModuleType("dtrain")
package.__path__ = [sys.argv[1]]
sys.modules["dtrain"] = package

import numpy as np
from dtrain.kernels.views import VIEWS
from dtrain.runtime.deployed import parse_to_run
from dtrain.runtime.executor import Executor
from dtrain.runtime.state import StateCell

given = np.load(sys.argv[2])
graph = parse_to_run(open(sys.argv[3], encoding="utf-8").read())
states = [StateCell(given[f"state{i}"]) for i in range(graph.num_states)]
executor = Executor(graph, states)
for turn in range(3):
    results = executor.run([given[f"argument{i}"] for i in range(len(graph.arguments))])
np.savez(sys.argv[4], *results, *(state.array for state in states))
rooms = {name.split(".")[1] for name in sys.modules if name.startswith("dtrain.")}
print(*sorted(rooms), *[state.version for state in states])
"""


class Net(nn.Module):
    """Something of everything: a convolution, statistics as states, views, a draw."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(4 * 3 * 3, 5)

    def forward(self, x: dt.Tensor) -> dt.Tensor:
        x = self.pool(F.relu(self.norm(self.conv(x))))
        return self.head(F.dropout(x, 0.25, training=self.training).flatten(1))


def run_without_face(graph_text: str, arguments: list[Any], states: list[Any], folder: Path) -> tuple[list[Any], str]:
    given = {f"argument{i}": array for i, array in enumerate(arguments)}
    np.savez(folder / "given.npz", **given, **{f"state{i}": array for i, array in enumerate(states)})
    (folder / "graph.txt").write_text(graph_text, encoding="utf-8")
    places = (find_spec("dtrain").submodule_search_locations or [])[0]  # type: ignore[union-attr]
    files = [str(folder / name) for name in ("given.npz", "graph.txt", "made.npz")]
    command = [sys.executable, "-c", WITHOUT_FACE, places, *files]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    with np.load(folder / "made.npz") as made:
        return [made[name] for name in made.files], ended.stdout


@pytest.mark.parametrize("training", [False, True])
def test_a_net_runs_bit_for_bit_without_tensors(training: bool, tmp_path: Path) -> None:
    dt.manual_seed(5)
    net = Net().train(training)
    optimizer = optim.Adam(net.parameters(), lr=0.01)
    x, labels = dt.randn(4, 3, 6, 6), dt.arange(4)

    def step(x: dt.Tensor, labels: dt.Tensor) -> dt.Tensor:
        scores = net(x)
        if not training:
            return scores
        loss = F.cross_entropy(scores, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    traced = dt.trace(step)
    traced(x, labels)
    compiled = traced.compiled[0]
    kept = compiled.executor.states
    before = [state.array.copy() for state in kept]
    arguments = [x.numpy(), labels.numpy()]
    made, said = run_without_face(print_graph(compiled.graph), arguments, before, tmp_path)
    for _ in range(3):
        result = traced(x, labels)
    assert made[0].tobytes() == result.numpy().tobytes()
    found = made[len(compiled.graph.outputs) :]
    assert [array.tobytes() for array in found] == [state.array.tobytes() for state in kept]
    assert len(compiled.graph.updates) > 10 if training else not compiled.graph.updates
    (*rooms,) = [word for word in said.split() if not word.isdigit()]
    assert rooms == ["base", "graph", "kernels", "runtime"]
    versions = [int(word) for word in said.split() if word.isdigit()]
    assert versions == [3 if i in compiled.graph.updates else 0 for i in range(len(kept))]


def test_a_text_says_which_op_nothing_computes() -> None:
    text = "graph g(%x: f32[2]@cpu; ) {\n  %0: f32[2]@cpu = negate(%x)\n  return %0\n}"
    with pytest.raises(GraphError, match=r"a kernel or a view of this name \(near: .*\bneg\b.*\), got negate;"):
        parse_to_run(text)


def test_registered_ops_are_taken_as_they_are() -> None:
    assert (
        op_to_run("add")
        is parse_graph("graph g(%x: f32[2]@cpu; ) {\n  %0: f32[2]@cpu = add(%x, %x)\n  return %0\n}").nodes[0].op
    )


def test_an_op_known_by_its_kernels_infers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dtrain.graph.op._OPS", {})
    op = op_to_run("neg")
    assert op.view is None and op_to_run("transpose").view is not None
    with pytest.raises(GraphError, match=r"import dtrain\.ops"):
        op.infer()


def test_cells_keep_states_between_runs() -> None:
    graph = parse_to_run(
        "graph count(%x: f32[2]@cpu; %w: f32[2]@cpu) {\n  %0: f32[2]@cpu = add(%w, %x)\n  return %0; %w <- %0\n}"
    )
    cell = StateCell(np.zeros(2, np.float32))
    executor = Executor(graph, [cell])
    for _ in range(3):
        (result,) = executor.run([np.array([1, 2], np.float32)])
    assert cell.array.tolist() == result.tolist() == [3, 6]
    assert cell.version == 3
    cell.array = np.full(2, 10, np.float32)  # exchanged: the executor binds itself anew
    assert executor.run([np.ones(2, np.float32)])[0].tolist() == [11, 11]


@pytest.mark.parametrize("op", ["cumsum(%x){axis=0}", "transpose(%x){axes=(0, 1, 3, 2)}"])
def test_a_layout_that_an_op_has_no_rule_for_is_refused(op: str) -> None:
    kind = "f32[3,16,4,4]{NCHW16c}@cpu"
    graph = parse_graph(f"graph g(%x: {kind}; ) {{\n  %0: {kind} = {op}\n  return %0\n}}")
    with pytest.raises(LayoutError, match=r"no rule for NCHW16c"):
        Executor(graph, [])


PLAIN_TYPE, LAID_OUT, QUANTIZED = "f32[2,3,2,3]@cpu", "f32[2,3,2,3]{NHWC}@cpu", "qs8<0.5:3>[2,3]@cpu"


@pytest.mark.parametrize(
    ("text", "error", "given"),
    [
        (f"(%x: {LAID_OUT}; ) {{\n  return %x\n}}", LayoutError, "NHWC"),
        (f"(; %w: {LAID_OUT}) {{\n  return %w\n}}", LayoutError, "NHWC"),
        (
            f"(%x: {PLAIN_TYPE}; ) {{\n  %0: {LAID_OUT} = relayout(%x){{layout='NHWC'}}\n  return %0\n}}",
            LayoutError,
            "NHWC",
        ),
        (f"(%x: {QUANTIZED}; ) {{\n  return %x\n}}", DtypeError, "qs8<0.5:3>"),
    ],
    ids=["argument", "state", "result", "quantized"],
)
def test_a_type_that_only_tensors_can_say_is_refused_wherever_it_stands(
    text: str, error: type[Exception], given: str
) -> None:
    with pytest.raises(error, match=rf"parse_to_run: expected .*, got .*{given}.*parse_graph"):
        parse_to_run(f"graph g{text}")
