"""`dtrain explain graph`: what is printed of a script's captures, as text and JSON, and what a wrong script is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dtrain.cli import main
from dtrain.graph.printer import parse_graph

SCRIPT = """
import sys
import dtrain as dt
from dtrain import nn

model = nn.Linear(2, 2)

@dt.trace
def first(x):
    x * 3.0
    return model(x) + model(x)

@dt.trace
def second(x):
    return -(-x)

print("arguments", sys.argv[1:])
x = dt.tensor([[1.0, 2.0]])
first(x)
second(x)
print("reached the end")
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return path


def test_the_first_capture_as_text(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "graph", str(script), "--epochs", "1"]) == 0
    shown = capsys.readouterr()
    out = shown.out.splitlines()
    assert out[0].startswith("first: ") and out[0].endswith("nodes captured, 2 after all passes")
    assert "  replace 1 × linear: an earlier node computes the same  # train.py:11" in out
    assert "  erase 1 × mul: nobody reads what it computes  # train.py:10" in out
    assert "  changes nothing" in out
    assert out[-1] == "}" and any("%weight: f32[2,2]@cpu" in line for line in out)
    assert "arguments ['--epochs', '1']" in shown.err
    assert "reached the end" not in shown.err, "the script ends with the capture"


def test_all_captures_as_json(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "graph", "--json", "--graphs", "0", str(script)]) == 0
    shown = capsys.readouterr()
    first, second = json.loads(shown.out)
    assert (first["function"], second["function"]) == ("first", "second")
    assert [item["name"] for item in first["passes"]][:2] == ["fold_constants", "simplify"]
    (simplify,) = (item for item in second["passes"] if item["name"] == "simplify")
    assert simplify["changes"] == [
        {
            "kind": "replace",
            "op": "neg",
            "scope": "",
            "source": "train.py:15",
            "reason": "neg_of_neg: a sign that is turned twice is as it was",
        }
    ]
    assert (second["captured_nodes"], second["nodes"]) == (2, 0)
    assert len(parse_graph(first["graph"]).nodes) == first["nodes"]
    assert "reached the end" in shown.err


def test_one_function_by_its_name(script: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "graph", "--function", "second", str(script)]) == 0
    assert capsys.readouterr().out.startswith("second: 2 nodes captured, 0 after")


@pytest.mark.parametrize(
    ("text", "flags", "code", "message"),
    [
        ("pass", (), 2, "expected a script that calls a traced function, got no capture in "),
        (SCRIPT, ("--function", "third"), 2, "expected a script that calls the traced function third, got no capture"),
        (None, (), 2, "expected a script, got "),
        ("raise ValueError('mine')", (), 1, "ValueError: mine"),
        ("raise SystemExit(7)", (), 7, ""),
    ],
)
def test_wrong_scripts(
    text: str | None,
    flags: tuple[str, ...],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "wrong.py"
    if text is not None:
        path.write_text(text)
    assert main(["explain", "graph", *flags, str(path)]) == code
    told = capsys.readouterr().err
    assert message in told and told.count("dtrain explain graph: ") <= 1
