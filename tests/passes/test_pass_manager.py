"""PassManager: order, verification, dumps, and how upper floors add passes."""

from __future__ import annotations

import pytest

import dtrain as dt
from dtrain.base.errors import GraphError
from dtrain.graph.graph import Graph
from dtrain.graph.printer import parse_graph, print_graph
from dtrain.passes import pass_manager
from dtrain.passes.eliminate_dead_code import eliminate_dead_code
from dtrain.passes.pass_manager import Pass, PassManager, default_pipeline, insert_pass

TEXT = """
graph g(%x: f32[2]@cpu; ) {
  %0: f32[2]@cpu = negative(%x)
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
    passes = default_pipeline().passes
    names = [item.name for item in passes]
    assert names[:2] == ["fold_constants", "eliminate_common_subexpressions"]
    assert "eliminate_dead_code" in names
    assert len(set(names)) == len(names)
    assert all(item.reason for item in passes)


def test_passes_run_in_order_on_the_same_graph() -> None:
    log: list[str] = []

    def first(graph: Graph) -> None:
        log.append("first")

    def second(graph: Graph) -> None:
        log.append("second")

    graph = parse_graph(TEXT)
    assert PassManager([Pass(first, ""), Pass(second, "")]).run(graph) is graph
    assert log == ["first", "second"]


def test_a_broken_rewrite_is_caught_behind_its_pass() -> None:
    with pytest.raises(GraphError, match=r"^verify after reverse: expected inputs of exp that are defined before it"):
        PassManager([Pass(leave, ""), Pass(reverse, ""), Pass(leave, "")]).run(parse_graph(TEXT))


def test_an_error_inside_names_the_pass() -> None:
    with pytest.raises(ValueError, match="no way") as caught:
        PassManager([Pass(fail, "")]).run(parse_graph(TEXT))
    if hasattr(caught.value, "add_note"):  # Python 3.11
        assert caught.value.__notes__ == ["in pass fail of graph g"]


PASSES = PassManager([Pass(leave, ""), Pass(eliminate_dead_code, "")])
DIFF = """\
pass eliminate_dead_code:
@@ -1,5 +1,4 @@
 graph g(%x: f32[2]@cpu; ) {
-  %0: f32[2]@cpu = negative(%x)
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
    PASSES.run(parse_graph(TEXT))
    captured = capsys.readouterr()
    assert captured.err == wanted
    assert captured.out == ""


def test_an_unknown_name_among_dumps_is_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTRAIN_DUMP_PASSES", "leave,leaf")
    with pytest.warns(UserWarning, match="DTRAIN_DUMP_PASSES: expected 1, 0 or names among leave, .*got leaf"):
        PASSES.run(parse_graph(TEXT))


def test_insert_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pass_manager, "_PIPELINE", list(pass_manager._PIPELINE))
    insert_pass(Pass(leave, "for the test"), after="fold_constants")
    insert_pass(Pass(leave, "again"), after="fold_constants")
    names = [item.name for item in default_pipeline().passes]
    assert names[:3] == ["fold_constants", "leave", "eliminate_common_subexpressions"]
    assert names.count("leave") == 1
    with pytest.raises(ValueError, match=r"insert_pass: expected one of fold_constants, .*, got missing"):
        insert_pass(Pass(fail, ""), after="missing")


def test_traced_functions_run_the_default_pipeline_unless_told_otherwise() -> None:
    def function(x):
        x * 3
        return (x * 2) + (x * 2)

    optimized, plain = dt.trace(function), dt.trace(passes=lambda graph: graph)(function)
    x = dt.tensor([1.5])
    assert optimized(x).tolist() == plain(x).tolist() == [6]
    counts = [sum(node.op.name == "multiply" for node in traced.graphs[0].nodes) for traced in (optimized, plain)]
    assert counts == [1, 3]
    assert print_graph(optimized.graphs[0]).count("multiply") == 1
