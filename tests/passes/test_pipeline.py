"""Pipelines: order, verification, dumps, and how upper floors add passes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import pytest
from runtime.random_graphs import evaluate, make_graph, random_arrays

import dtrain as dt
from dtrain.base.errors import GraphError
from dtrain.graph.graph import Change, Graph
from dtrain.graph.op import get_op
from dtrain.graph.printer import parse_graph, print_graph
from dtrain.passes import pipeline
from dtrain.passes.eliminate_dead_code import eliminate_dead_code
from dtrain.passes.fold_constants import fold_constants
from dtrain.passes.pipeline import DEFAULT_PIPELINE, Pass, Pipeline, register_pass_for

TEXT = """
graph g(%x: f32[2]@cpu; ) {
  %0: f32[2]@cpu = neg(%x)
  %1: f32[2]@cpu = exp(%x)
  return %1
}"""


def reverse(graph: Graph) -> None:
    graph.nodes.reverse()
    graph.nodes[0].inputs = graph.nodes[1].outputs


def fail(graph: Graph) -> None:
    raise ValueError("no way")


def leave(graph: Graph) -> None:
    pass


def test_the_default_order_is_documented() -> None:
    passes = DEFAULT_PIPELINE.passes
    names = [item.name for item in passes]
    assert names == ["fold_constants", "simplify", "eliminate_common_subexpressions", "eliminate_dead_code"]
    assert len(set(names)) == len(names)
    assert all(item.reason for item in passes)


def test_passes_run_in_order_on_the_same_graph() -> None:
    log: list[str] = []

    def first(graph: Graph) -> None:
        log.append("first")

    def second(graph: Graph) -> None:
        log.append("second")

    graph = parse_graph(TEXT)
    assert Pipeline([Pass(first, ""), Pass(second, "")])(graph) is graph
    assert log == ["first", "second"]


def test_a_broken_rewrite_is_caught_behind_its_pass() -> None:
    with pytest.raises(GraphError, match=r"^verify after reverse: expected inputs of exp that are defined before it"):
        Pipeline([Pass(leave, ""), Pass(reverse, ""), Pass(leave, "")])(parse_graph(TEXT))


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_compute_the_same_bits_after_all_passes(seed: int) -> None:
    """Views, updates and late reads in any order; no pass breaks an effect, and in the end nothing more changes."""
    graph = make_graph(seed, 60)
    arrays = random_arrays(graph.arguments, seed), random_arrays(graph.states, seed + 1)
    before, count = evaluate(graph, *arrays), len(graph.nodes)
    DEFAULT_PIPELINE(graph)
    assert len(graph.nodes) < count
    for values, wanted in zip(evaluate(graph, *arrays), before):
        assert [value.tobytes() for value in values] == [value.tobytes() for value in wanted]
    DEFAULT_PIPELINE(DEFAULT_PIPELINE(graph))  # dead updates that are gone let more be merged
    text = print_graph(graph)
    assert print_graph(DEFAULT_PIPELINE(graph)) == text


def test_an_error_inside_names_the_pass() -> None:
    with pytest.raises(ValueError, match="no way") as caught:
        Pipeline([Pass(fail, "")])(parse_graph(TEXT))
    if hasattr(caught.value, "add_note"):  # Python 3.11
        assert caught.value.__notes__ == ["in pass fail of graph g"]


PASSES = Pipeline([Pass(leave, ""), Pass(eliminate_dead_code, "")])
DIFF = """\
pass eliminate_dead_code:
@@ -1,5 +1,4 @@
 graph g(%x: f32[2]@cpu; ) {
-  %0: f32[2]@cpu = neg(%x)
-  %1: f32[2]@cpu = exp(%x)
-  return %1
+  %0: f32[2]@cpu = exp(%x)
+  return %0
 }
"""


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (None, ""),
        ("", ""),
        ("0", ""),
        ("1", "pass leave: no change\n" + DIFF),
        ("leave", "pass leave: no change\n"),
        ("eliminate_dead_code", DIFF),
        (" leave , eliminate_dead_code", "pass leave: no change\n" + DIFF),
    ],
)
def test_dumps_show_what_each_selected_pass_changed(
    value: str | None, wanted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DTRAIN_DUMP_PASSES", raising=False)
    if value is not None:
        monkeypatch.setenv("DTRAIN_DUMP_PASSES", value)
    PASSES(parse_graph(TEXT))
    captured = capsys.readouterr()
    assert captured.err == wanted
    assert captured.out == ""


def test_an_unknown_name_among_dumps_is_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTRAIN_DUMP_PASSES", "leave,leaf")
    with pytest.warns(UserWarning, match="DTRAIN_DUMP_PASSES: expected 1, 0 or names among leave, .*got leaf"):
        PASSES(parse_graph(TEXT))


def test_a_pipeline_with_one_more_pass_is_another_value() -> None:
    more = DEFAULT_PIPELINE.with_pass(Pass(leave, "for the test"), after=fold_constants)
    assert [item.name for item in more.passes][:3] == ["fold_constants", "leave", "simplify"]
    assert "leave" not in [item.name for item in DEFAULT_PIPELINE.passes]
    with pytest.raises(ValueError, match=r"with_pass: expected the function of one of fold_constants, .*, got reverse"):
        DEFAULT_PIPELINE.with_pass(Pass(fail, ""), after=reverse)
    with pytest.raises(ValueError, match=r"with_pass: expected a pass besides fold_constants, .*, got leave"):
        more.with_pass(Pass(leave, "again"), after=fold_constants)


def test_an_op_brings_the_pass_that_it_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_wanted", [])
    register_pass_for(get_op("exp"), Pass(fail, "for the test"), after=eliminate_dead_code)
    with pytest.raises(ValueError, match="no way"):
        PASSES(parse_graph(TEXT))
    PASSES(parse_graph(TEXT.replace("exp", "sqrt")))
    Pipeline([Pass(leave, "")])(parse_graph(TEXT))  # does not run what it belongs behind


def test_who_observes_sees_each_pass_and_what_it_changed() -> None:
    seen: list[tuple[str, int, list[str]]] = []

    def observe(item: Pass, graph: Graph, changes: Sequence[Change]) -> None:
        seen.append((item.name, len(graph.nodes), [f"{change.kind} {change.node.op.name}" for change in changes]))

    graph = PASSES.with_observer(observe)(parse_graph(TEXT))
    assert seen == [("leave", 2, []), ("eliminate_dead_code", 1, ["erase neg"])]
    assert graph.changes == []


def test_a_thread_has_the_pipeline_of_its_context() -> None:
    """Captures belong to a pipeline: another one captures again, the first one finds its own."""
    used: list[str] = []

    def note(name: str) -> Callable[[Graph], Graph]:
        return lambda graph: used.append(name) or graph

    @dt.trace
    def double(x: dt.Tensor) -> dt.Tensor:
        return x * 2 + 0 * x

    x = dt.tensor([1.5])
    mine, inner = note("mine"), note("inner")
    with dt.graph_passes(mine):
        double(x)
        with dt.graph_passes(inner):
            double(x)
        double(x)
        other = threading.Thread(target=double, args=(x,))
        other.start()
        other.join()
    assert used == ["mine", "inner"]
    assert len(double.graphs) == 3
    double(x)
    assert len(double.graphs) == 4, "this thread had captured nothing with the default pipeline"
    assert used == ["mine", "inner"]


def test_traced_functions_run_the_default_pipeline_unless_told_otherwise() -> None:
    def function(x):
        x * 3
        return (x * 2) + (x * 2)

    optimized, plain = dt.trace(function), dt.trace(passes=lambda graph: graph)(function)
    x = dt.tensor([1.5])
    assert optimized(x).tolist() == plain(x).tolist() == [6]
    counts = [sum(node.op.name == "mul" for node in traced.graphs[0].nodes) for traced in (optimized, plain)]
    assert counts == [1, 3]
    assert print_graph(optimized.graphs[0]).count("= mul(") == 1


def note(log: list[str], name: str) -> Callable[[Graph], None]:
    def run(graph: Graph) -> None:
        log.append(name)

    run.__name__ = run.__qualname__ = name
    return run


@pytest.mark.parametrize("is_reversed", [False, True])
def test_an_op_may_want_several_passes_and_one_may_be_wanted_by_several_ops(
    is_reversed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each runs once, behind what it builds on, in an order that is not that of registration."""
    monkeypatch.setattr(pipeline, "_wanted", [])
    log: list[str] = []
    early, late, third = (Pass(note(log, name), "for the test") for name in ("early", "late", "third"))
    wanted = [
        (early, "exp", eliminate_dead_code),
        (late, "exp", eliminate_dead_code),
        (early, "neg", eliminate_dead_code),
    ]
    for item, op, after in reversed(wanted) if is_reversed else wanted:
        register_pass_for(get_op(op), item, after=after)
    register_pass_for(get_op("exp"), third, after=early.run)
    PASSES(parse_graph(TEXT))
    assert log == ["late", "early", "third"]
    log.clear()
    PASSES(parse_graph(TEXT.replace("exp", "sqrt")))  # neg alone
    assert log == ["early"]


def test_a_pass_is_registered_under_one_name_behind_a_pass_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "_wanted", [])
    exp, item = get_op("exp"), Pass(leave, "for the test")
    for _ in range(2):  # again, as a module that is loaded anew
        register_pass_for(exp, item, after=eliminate_dead_code)
    assert len(pipeline._wanted) == 1
    for after in (reverse, "eliminate_dead_code"):
        given = r"expected after: the function of one of fold_constants, .*, leave, got (reverse|eliminate_dead_code)"
        with pytest.raises(ValueError, match=f"register_pass_for: {given}"):
            register_pass_for(exp, Pass(fail, "for the test"), after=after)
    with pytest.raises(ValueError, match="expected one pass leave, behind eliminate_dead_code, got another leave"):
        register_pass_for(exp, Pass(note([], "leave"), "for the test"), after=eliminate_dead_code)
    with pytest.raises(ValueError, match=r"expected one pass leave, .*, got .* the same one behind fold_constants"):
        register_pass_for(get_op("sqrt"), item, after=fold_constants)
    log: list[str] = []  # of a pipeline with a pass of its own that has this name
    Pipeline([Pass(eliminate_dead_code, ""), Pass(note(log, "leave"), "")])(parse_graph(TEXT))
    assert log == ["leave"]
