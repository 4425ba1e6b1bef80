"""PackAllReduce: fewer messages, the same bits, the order of readiness, and the plan that is printed is what runs."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import collectives as dist
from dtrain import models, optim
from dtrain.bench.benchmarks.step import gradients_read_in_buckets
from dtrain.collectives.memory.bucket import divide
from dtrain.collectives.memory.bucket_pool import pool_of
from dtrain.collectives.memory.packed import address_of
from dtrain.collectives.ops.collective_ops import ALL_REDUCE, ALL_REDUCE_MANY
from dtrain.collectives.passes.pack_all_reduce import bucket_plan, pack_all_reduce
from dtrain.functional import cross_entropy
from dtrain.graph.printer import parse_graph, print_graph
from dtrain.graph.verify import verify
from dtrain.kernels import Candidate
from dtrain.runtime.memory_plan import plan_memory

Bound = list[tuple[Any, Any]]  # calls, and the inputs that they are bound to


def graph_of(*lines: str) -> Any:
    return parse_graph("\n".join(["graph g(%x: f32[2,3]@cpu; ) {", *lines, "}"]))


def reduce(
    out: int,
    source: str,
    label: str,
    *,
    shape: str = "2,3",
    bucket_bytes: int = 1000,
    dtype: str = "f32",
    bunch: int = 0,
) -> str:
    numbered = f", bunch={bunch}" if bunch else ""
    attrs = f"{{group='world', op='sum', label='{label}', bucket_bytes={bucket_bytes}{numbered}}}"
    return f"  %{out}: {dtype}[{shape}]@cpu = all_reduce(%{source}){attrs}"


def test_divide_closes_a_bucket_before_it_passes_its_size() -> None:
    assert divide([100, 300, 400, 300, 500, 200, 100], 1000) == [[0, 1, 2], [3, 4, 5], [6]]
    assert divide([2000, 10], 1000) == [[0], [1]]
    assert divide([], 1000) == []


def test_buckets_form_in_order_of_readiness_whatever_the_order_of_the_calls() -> None:
    graph = graph_of(
        "  %0: f32[2,3]@cpu = square(%x)",
        "  %1: f32[2,3]@cpu = exp(%x)",
        reduce(2, "1", "second"),
        reduce(3, "0", "first"),
        "  return %2, %3",
    )
    pack_all_reduce(graph)
    verify(graph)
    assert [node.op.name for node in graph.nodes] == ["square", "exp", "all_reduce_many"]
    assert graph.nodes[-1].attrs["labels"] == ("first", "second")
    assert [value.node.inputs[value.index].node.op.name for value in graph.outputs] == ["exp", "square"]


def test_dtypes_caps_and_unpackable_nodes_stay_apart() -> None:
    graph = graph_of(
        "  %0: f32[2,3]@cpu = square(%x)",
        "  %1: f32[2,3]@cpu = exp(%x)",
        "  %2: f64[2,3]@cpu = cast(%x){dtype=dtype(f64)}",
        "  %3: f32[2,3]@cpu = neg(%x)",
        reduce(4, "0", "a"),
        reduce(5, "1", "b"),
        reduce(6, "2", "c", dtype="f64"),
        reduce(7, "3", "alone", bucket_bytes=0),
        "  return %4, %5, %6, %7",
    )
    pack_all_reduce(graph)
    verify(graph)
    assert [bucket.labels for bucket in bucket_plan(graph)] == [("a", "b"), ("c",), ("alone",)]


def test_inputs_that_cannot_lie_in_a_bucket_are_copied() -> None:
    graph = graph_of(
        "  %0: f32[2,3]@cpu = square(%x)",
        "  %1: f32[3,2]@cpu = transpose(%0){axes=(1, 0)}",
        reduce(2, "0", "read twice"),
        reduce(3, "1", "a view", shape="3,2"),
        reduce(4, "x", "an argument"),
        "  return %2, %3, %4",
    )
    pack_all_reduce(graph)
    verify(graph)
    assert [node.op.name for node in graph.nodes].count("copy") == 3


def test_what_depends_on_a_reduced_value_stays_out_of_its_bucket() -> None:
    """Two backward passes, the second of which reads what the first has reduced; a third that could run before."""
    graph = graph_of(
        "  %0: f32[2,3]@cpu = square(%x)",
        reduce(1, "0", "first"),
        "  %2: f32[2,3]@cpu = exp(%1)",
        reduce(3, "2", "second"),
        "  %4: f32[2,3]@cpu = neg(%x)",
        reduce(5, "4", "third"),
        "  return %3, %5",
    )
    pack_all_reduce(graph)
    verify(graph)
    assert [bucket.labels for bucket in bucket_plan(graph)] == [("first",), ("second",), ("third",)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_is_reduced_again_leaves_its_bucket(size: int) -> None:
    """A value that lies in one bucket, beside its neighbours there, is copied into the next."""

    def program(communicator: Any) -> None:
        def reduced(x: Any) -> list[Any]:
            first = [dist.all_reduce(value, bucket_bytes=1 << 20) for value in (x * x, x + 1.0)]
            again = [dist.all_reduce(value, bucket_bytes=1 << 20) for value in reversed(first)]
            return [*again, dist.all_reduce(again[0], bucket_bytes=1 << 20)]

        x = dt.tensor(np.random.default_rng(communicator.rank).standard_normal((2, 3)))
        with dist.using(communicator):
            traced = dt.trace(reduced)
            for _ in range(2):
                for value, wanted in zip(traced(x), reduced(x)):
                    np.testing.assert_array_equal(value.numpy(), wanted.numpy())
        counts = Counter(node.op.name for node in traced.graphs[0].nodes)
        assert counts["all_reduce_many"] >= 2 and counts["copy"] >= 2

    dist.run_threads(size, program)


def test_a_bunch_keeps_its_order_and_meets_no_other() -> None:
    """On another rank `exp` may stand before `square`: the order of readiness must not show."""
    graph = graph_of(
        "  %0: f32[2,3]@cpu = square(%x)",
        "  %1: f32[2,3]@cpu = exp(%x)",
        "  %2: f32[2,3]@cpu = neg(%x)",
        reduce(3, "1", "a", bunch=1),
        reduce(4, "0", "b", bunch=1),
        reduce(5, "2", "c", bunch=2),
        "  return %3, %4, %5",
    )
    pack_all_reduce(graph)
    verify(graph)
    assert [bucket.labels for bucket in bucket_plan(graph)] == [("a", "b"), ("c",)]


def test_a_bucket_passes_no_other_collective() -> None:
    graph = graph_of(
        "  %0: f32[2,3]@cpu = square(%x)",
        "  %1: f32[2,3]@cpu = exp(%x)",
        "  %2: f32[2,3]@cpu = all_reduce(%1){group='world', op='max'}",
        reduce(3, "0", "a", bunch=1),
        "  return %2, %3",
    )
    pack_all_reduce(graph)
    verify(graph)
    assert [node.op.name for node in graph.nodes] == ["square", "exp", "all_reduce", "all_reduce_many"]


def test_an_input_that_others_read_before_is_reduced_where_it_lies() -> None:
    """The sums of sync-BN: read by the exchange of statistics first, then averaged as gradients of γ and β."""
    graph = graph_of(
        "  %0: f32[2,3]@cpu = square(%x)",
        "  %1: f32[2,3]@cpu = exp(%0)",
        reduce(2, "0", "a", bunch=1),
        "  return %1, %2",
    )
    pack_all_reduce(graph)
    assert [node.op.name for node in graph.nodes] == ["square", "exp", "all_reduce_many"]
    plan = plan_memory(graph)
    assert [(block.number, len(block.members)) for block in plan.blocks] == [(0, 1)]
    assert plan.storage[graph.outputs[1]] is plan.storage[graph.nodes[0].outputs[0]]


def test_the_pass_is_repeatable_and_its_text_parses_back() -> None:
    graph = graph_of("  %0: f32[2,3]@cpu = square(%x)", reduce(1, "0", "a"), "  return %1")
    pack_all_reduce(graph)
    text = print_graph(graph)
    pack_all_reduce(graph)
    assert print_graph(graph) == text
    assert print_graph(parse_graph(text)) == text


def test_a_gradient_that_stays_behind_outlives_other_graphs_with_the_same_bucket() -> None:
    def program(communicator: Any) -> tuple[list[float], list[float], int]:
        with dist.using(communicator):
            pool = pool_of(communicator)
            pool.grow(communicator, 64)
            weight = dt.tensor([1.0, 2.0, 3.0], requires_grad=True)

            def leave(x: dt.Tensor) -> dt.Tensor:
                loss = (weight * x).sum()
                (gradient,) = dt.grad(loss, weight)
                weight.grad = dist.all_reduce(gradient, label="weight", bucket_bytes=1000)
                return loss

            dt.trace(leave)(dt.tensor([1.0, 1.0, 1.0]))
            left = weight.grad
            before = left.tolist()
            dt.trace(leave)(dt.tensor([5.0, 5.0, 5.0]))
            return before, left.tolist(), pool.free_nbytes

    for before, after, free in dist.run_threads(2, program):
        assert before == after == [2.0, 2.0, 2.0]
        assert free == 0, "what the first graph's gradient lies in is not lent again while it lives"


def resnet_step(communicator: Any, bucket_mb: float | None, bound: Bound) -> dict[str, Any]:
    """Three traced ResNet-18 steps on this rank: the plan, what the communicator counted, and the parameters' sum."""
    with dist.using(communicator):
        dt.seed(1)
        model = dist.data_parallel(dist.convert_sync_batch_norm(models.resnet18(num_classes=10)), bucket_mb=bucket_mb)
        optimizer = optim.SGD(model.parameters(), lr=0.01)

        def step(images: dt.Tensor, labels: dt.Tensor) -> dt.Tensor:
            optimizer.zero_grad()
            loss = cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            return loss

        run = dt.trace(step)
        rng = np.random.default_rng(communicator.rank)
        batch = dt.tensor(rng.standard_normal((2, 3, 32, 32), dtype=np.float32)), dt.tensor(rng.integers(0, 10, 2))
        run(*batch)
        communicator.counters.reset()
        run(*batch)
        nodes = run.graphs[0].nodes
        return {
            "plan": bucket_plan(run.graphs[0]),
            "calls": communicator.counters.as_dict(),
            "not borrowed": pool_of(communicator).free_nbytes,
            "unpacked": sum(node.op is ALL_REDUCE for node in nodes),
            "packed": sum(node.op is ALL_REDUCE_MANY for node in nodes),
            "nodes": Counter(node.op.name for node in nodes),
            "read in buckets": _gradients_read_in_buckets(run.compiled[0].executor, bound),
            "read in buckets by the plan": gradients_read_in_buckets(run.compiled[0].executor),
            "arena": run.compiled[0].executor.plan.arena_nbytes,
            # Counts of batches are, 8 bytes for each batch norm; nothing that is computed with may be.
            "copied home": sum(array.dtype.kind == "f" for array, _ in run.compiled[0].executor._home),
            "parameters": [parameter.numpy().tobytes() for _, parameter in model.named_parameters()],
        }


def _gradients_read_in_buckets(executor: Any, bound: Bound) -> int:
    """How many arrays the bound update kernel reads inside of the memory of a bucket."""
    memory = [(address_of(array), array.size) for array in executor._blocks.values()]
    (update,) = [step.call for step in executor.steps if step.node and step.node.op.name == "sgd_update"]
    (inputs,) = [inputs for call, inputs in bound if call is update]
    return sum(any(begin <= address_of(array) < begin + nbytes for begin, nbytes in memory) for array in inputs)


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Bound:
    """What kernels are bound to from now on: the call, which does not show its arrays, and its inputs."""
    seen: Bound = []
    bind = Candidate.bind

    def note(self: Candidate, inputs: Any, *rest: Any) -> Any:
        call = bind(self, inputs, *rest)
        seen.append((call, inputs))
        return call

    monkeypatch.setattr(Candidate, "bind", note)
    return seen


@pytest.mark.slow
def test_resnet18_has_at_most_five_messages_and_the_plan_is_what_runs(bound: Bound) -> None:
    packed = dist.run_threads(2, lambda communicator: resnet_step(communicator, None, bound))
    single = dist.run_threads(2, lambda communicator: resnet_step(communicator, 0, bound))
    assert single[0]["unpacked"] == 62
    gradients = [label for bucket in packed[0]["plan"] for label in bucket.labels]
    assert len(gradients) == 62
    assert 1 <= len(packed[0]["plan"]) <= 5
    assert packed[0]["plan"] == packed[1]["plan"]
    # Gradients are computed inside their buckets, and the optimizer reads them where the mean left them.
    assert packed[0]["nodes"]["div"] == packed[0]["nodes"]["copy"] == packed[0]["copied home"] == 0
    assert packed[0]["read in buckets"] == packed[0]["read in buckets by the plan"] == 62
    assert packed[0]["arena"] < 0.04 * sum(bucket.nbytes for bucket in packed[0]["plan"]), "no gradient lies there"
    assert packed[0]["not borrowed"] == 0, "every gradient lies in shared memory"
    assert packed[0]["calls"]["all_reduce_many"]["calls"] == len(packed[0]["plan"])
    assert packed[0]["calls"]["all_reduce"]["nbytes"] < 2**17, "sums of sync-BN only"
    assert packed[0]["calls"]["all_reduce_many"]["nbytes"] == sum(bucket.nbytes for bucket in packed[0]["plan"])
    assert packed[0]["parameters"] == single[0]["parameters"] == packed[1]["parameters"]
