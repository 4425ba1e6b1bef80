"""The demo: two ranks under mpirun and under Ray give the same losses, and the screen shows what it promises."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.ray_nodes import require_ray
from tests.helpers.run_ranks import mpi_environment, require_mpi

EXAMPLE = str(Path(__file__).parents[2] / "examples" / "digits.py")


def run_example(launcher: str, losses: Path, *, epochs: int = 2) -> tuple[str, list[float]]:
    require_mpi()
    command = [
        sys.executable,
        "-m",
        "dtrain.cli",
        "run",
        "--launcher",
        launcher,
        "-np",
        "2",
        "--timeout",
        "150",
    ]
    command += [EXAMPLE, "--epochs", str(epochs), "--losses", str(losses)]
    job = subprocess.run(command, capture_output=True, text=True, timeout=200, env=mpi_environment(), check=False)
    assert job.returncode == 0, job.stdout + job.stderr
    return job.stdout + job.stderr, json.loads(losses.read_text())


@pytest.mark.distributed
def test_the_screen_of_the_demo(tmp_path: Path) -> None:
    output, losses = run_example("mpirun", tmp_path / "losses.json", epochs=3)
    for wanted in (
        "rank  host",  # the rank table
        "bucket plan: ",
        "gradient all-reduces before packing",
        "epoch  3  step   69  loss",
        "samples/s",
        "exposed communication",
        "held-out digits",
    ):
        assert wanted in output, f"{wanted!r} is not in\n{output}"
    assert "█" not in output, "a progress bar that was cleared before anybody saw it"
    assert len(losses) == 69
    accuracy = float(output.rsplit("test accuracy ", 1)[1].split()[0])
    assert accuracy >= 0.95


@pytest.mark.distributed
@pytest.mark.timeout(400)
def test_ray_gives_the_losses_of_mpirun(tmp_path: Path) -> None:
    require_ray()
    _, by_mpirun = run_example("mpirun", tmp_path / "mpirun.json")
    _, by_ray = run_example("ray", tmp_path / "ray.json")
    assert by_ray == by_mpirun
