"""Steps under way, on a fake work: what an error or an interrupt leaves behind, and where waits stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from dtrain.base.dtype import float32
from dtrain.base.tensor_type import tensor_type
from dtrain.graph.graph import Graph
from dtrain.graph.op import Op, get_op
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.registry import kernels_of, register_kernel
from dtrain.runtime.buckets import BUCKET_MEMBERS
from dtrain.runtime.executor import Executor
from dtrain.runtime.under_way import STARTS

TYPE = tensor_type((3,), float32)


def _double(*inputs: np.ndarray, out: Any) -> None:
    for source, target in zip(inputs, out if isinstance(out, tuple) else (out,)):
        np.multiply(source, 2, out=target)


DOUBLED = Op(
    name="test_doubled",
    infer=lambda *types: types,
    aliases=lambda attrs: {0: 0, 1: 1},
)
BUCKET_MEMBERS.register(DOUBLED, lambda node: node.inputs)
if not kernels_of(DOUBLED.name):
    register_kernel(Candidate(op=DOUBLED.name, name="test_doubled_reference", isa="reference", function=_double))


class FakeWork:
    """Computes when it is waited for, and may raise before or instead."""

    def __init__(self, *given: Any, out: Any) -> None:
        self.given, self.out, self.has_ended = given, out, False
        works.append(self)

    def wait(self) -> None:
        if errors:
            error = errors.pop(0)
            self.has_ended = isinstance(error, Exception)
            raise error
        _double(*self.given, out=self.out)
        self.has_ended = True


works: list[FakeWork] = []
errors: list[BaseException] = []
STARTS.register(DOUBLED, FakeWork)


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    works.clear()
    errors.clear()
    yield


def executor_of() -> Executor:
    """x -> 2·(−x), 2·(x + x), exp x, the last computed while the first two are under way."""
    graph = Graph()
    x = graph.add_argument(TYPE, "x")
    made = [graph.add_node(get_op("neg"), [x]).outputs[0], graph.add_node(get_op("add"), [x, x]).outputs[0]]
    doubled = graph.add_node(DOUBLED, made).outputs
    meanwhile = graph.add_node(get_op("exp"), [x]).outputs[0]
    reader = graph.add_node(get_op("add"), [doubled[0], meanwhile]).outputs[0]
    graph.outputs = [reader, *doubled]
    return Executor(graph, [], overlap=True)


def test_the_wait_stands_before_the_first_reader() -> None:
    executor = executor_of()
    x = np.array([1, 2, 3], np.float32)
    results = executor.run([x])
    names = [(step.kind, step.node.op.name if step.node else "") for step in executor.steps]
    assert names[2:] == [("start", "test_doubled"), ("kernel", "exp"), ("wait", "test_doubled"), ("kernel", "add")]
    assert [array.tolist() for array in results[1:]] == [[-2, -4, -6], [4, 8, 12]]
    np.testing.assert_allclose(results[0], np.exp(x) - 2 * x, rtol=1e-6)


@pytest.mark.parametrize("error", [ValueError("lost"), KeyboardInterrupt()])
def test_what_ends_a_wait_leaves_nothing_under_way(error: BaseException) -> None:
    executor = executor_of()
    errors.append(error)
    with pytest.raises(type(error)):
        executor.run([np.ones(3, np.float32)])
    assert [work.has_ended for work in works] == [True]
    assert executor.run([np.ones(3, np.float32)])[1].tolist() == [-2, -2, -2]


def test_an_error_of_a_kernel_waits_and_notes_what_else_failed() -> None:
    executor = executor_of()
    executor.run([np.ones(3, np.float32)])
    place = next(place for place, step in enumerate(executor.steps) if step.node and step.node.op.name == "exp")
    executor._calls[place] = lambda: 1 / 0  # type: ignore[assignment, return-value]
    errors.append(ValueError("lost"))
    with pytest.raises(ZeroDivisionError) as caught:
        executor.run([np.ones(3, np.float32)])
    assert [work.has_ended for work in works] == [True, True]
    notes = getattr(caught.value, "__notes__", None)
    assert notes is None or any(
        "test_doubled, which was under way, ended by ValueError: lost" in note for note in notes
    )
