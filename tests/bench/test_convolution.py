"""The benchmark of convolution layers: what it times is what was chosen, and its layers are layers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dtrain.base.turns import Samples
from dtrain.bench.benchmarks.convolution import DIRECTIONS, LAYERS, MORE_LAYERS
from dtrain.bench.command import bench
from dtrain.bench.peer import beside_peer
from dtrain.launcher.plan.spec import UsageError

QUICK = ["--batch-size", "1", "--turns", "1", "--turn-seconds", "0"]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the benchmark wants it, which would start this process again."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


def test_a_row_a_direction(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    assert bench(["convolution", *QUICK, "--layer", "3×3 512 7²", "-J", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert [row["label"] for row in rows] == [
        f"3×3 512 7² {d}" for d in ("forward", "backward_data", "backward_weights")
    ]
    for row, direction in zip(rows, DIRECTIONS):
        assert row["kernel"].startswith(f"{direction}_f32_direct_")
        flops = 2 * 49 * 512 * 512 * 9
        assert row["gigaflops"] == pytest.approx(flops / row["median_ms"] / 1e6)
    assert capsys.readouterr().out.count("GFLOP/s") == 3


@pytest.mark.parametrize("name", [*LAYERS, *MORE_LAYERS])
def test_layers_fit(name: str) -> None:
    layer = {**LAYERS, **MORE_LAYERS}[name]
    x, w, y = layer.shapes(2)
    assert x[1] % layer.groups == y[1] % layer.groups == 0 and w[1] == x[1] // layer.groups and min(y) > 0
    assert layer.flops(2) == 2 * y[0] * y[1] * y[2] * y[3] * w[1] * w[2] * w[3]


def test_the_ratio_is_that_to_the_better_way_of_the_peer() -> None:
    found = beside_peer(Samples((2.0, 4.0)), {"a": Samples((9.0, 9.0)), "b": Samples((3.0, 8.0))})
    assert (found["peer"], found["speed_to_peer"], found["ratio_min"], found["ratio_max"]) == ("b", 1.75, 1.5, 2.0)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--layer", "4×4"], "--layer: expected one of 7×7 stem, .*, got '4×4'"),
        (["--batch-size", "0"], "--batch-size: expected at least 1, got 0"),
        (["--turns", "0"], "--turns: expected at least 1, got 0"),
    ],
)
def test_what_cannot_be_measured(flags: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        bench(["convolution", *flags])
