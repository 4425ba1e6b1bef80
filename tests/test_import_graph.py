"""The graph of imports sees what Python would import, by whichever way."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import import_graph


@pytest.mark.parametrize(
    ("source", "imported"),
    [
        ("import dtrain.base.errors", "dtrain.base.errors"),
        ("def f():\n    from dtrain.core.tensor import Tensor", "dtrain.core.tensor.Tensor"),
        ("from . import memory_plan", "dtrain.runtime.memory_plan"),
        ("from ..core import tensor", "dtrain.core.tensor"),
        ("import importlib\nimportlib.import_module('dtrain.nn')", "dtrain.nn"),
        ("import importlib\nimportlib.import_module(f'dtrain.ops.{name}')", "dtrain.ops.*"),
        ("from importlib import import_module\nimport_module(f'{__name__}.parts')", "dtrain.runtime.probe.parts"),
        ("__import__('dtrain.optim')", "dtrain.optim"),
        ("PLACES = {'a': 'dtrain.data'}\n__import__(PLACES[key])", "dtrain.data"),
        ("if not TYPE_CHECKING:\n    import dtrain.amp", "dtrain.amp"),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import dtrain.amp", "dtrain.amp"),
    ],
)
def test_ways_to_import(source: str, imported: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_graph, "ROOT", tmp_path)
    path = tmp_path / "dtrain" / "runtime" / "probe.py"
    path.parent.mkdir(parents=True)
    path.write_text(source)
    assert [name for _, name in import_graph.imports_of(path)] == [imported]


def test_what_only_type_checkers_see_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_graph, "ROOT", tmp_path)
    path = tmp_path / "probe.py"
    path.write_text("if TYPE_CHECKING:\n    from dtrain.nn import Module\nimport numpy")
    assert import_graph.imports_of(path) == []
    assert import_graph.imports_of(path, for_checkers=True) == [(2, "dtrain.nn.Module")]


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert sorted(map(sorted, import_graph.circles(graph))) == [["a", "b", "c"], ["d", "e"]]


def test_string_imports_of_the_package_are_seen() -> None:
    graph = import_graph.import_graph()
    assert "dtrain.kernels.reference.indexing" in graph["dtrain.kernels.reference"]
    assert "dtrain.kernels.reference" in graph["dtrain.kernels.loaders"]
    assert "dtrain.collectives" in graph["dtrain.launcher.command.doctor_ranks"]
