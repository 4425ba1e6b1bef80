"""Scripts in PyTorch's and Horovod's habits run unchanged but for their imports, on one rank and on two, alike."""

from __future__ import annotations

import os
import re
import runpy
import sys
from pathlib import Path

import pytest

from dtrain.collectives import context
from tests.helpers.run_ranks import mpi_environment, require_mpi, run_command

SCRIPTS = Path(__file__).with_name("ported")
ROOT = Path(__file__).parents[2]
NUMBER = r"-?\d+\.\d+"

# Script -> arguments on one rank and on two (the samples of a step are the same), and whether losses are the same.
CASES = {
    "ddp_tutorial": (["--epochs", "2", "--batch-size", "64"], ["--epochs", "2", "--batch-size", "32"], True),
    "horovod_mnist": (["--epochs", "1", "--batch-size", "32"], ["--epochs", "1", "--batch-size", "32"], False),
    "transformer_lm": (["--steps", "6"], ["--steps", "6"], True),
    "cnn_trainer": (["--epochs", "1"], ["--epochs", "1"], True),
}


def on_one_rank(name: str, arguments: list[str], folder: Path, monkeypatch, capsys) -> str:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", [name, *arguments])
    try:
        runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
    finally:
        context.finalize()
    return str(capsys.readouterr().out)


def on_two_ranks(name: str, arguments: list[str], folder: Path) -> str:
    require_mpi()
    launcher = [sys.executable, "-m", "dtrain.launcher.cli", "run", "-np", "2", "-q"]
    job = run_command(
        [*launcher, str(SCRIPTS / f"{name}.py"), *arguments], timeout=120, env={**mpi_environment(), "PWD": str(folder)}
    )
    assert job.returncode == 0, job.stdout
    return str(job.stdout)


def last_lines(output: str, size: int) -> list[str]:
    """What each rank says at its end, without its number."""
    lines = dict(re.findall(rf"rank (\d)/{size}: (.*)", output))
    assert len(lines) == size, output
    return [lines[str(rank)] for rank in range(size)]


@pytest.mark.parametrize("name", CASES)
def test_a_ported_script_runs_on_one_rank_and_on_two(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    one, two, is_same = CASES[name]
    (alone,) = last_lines(on_one_rank(name, one, tmp_path, monkeypatch, capsys), 1)
    monkeypatch.chdir(tmp_path)
    first, second = last_lines(on_two_ranks(name, two, tmp_path), 2)
    assert first == second
    assert "False" not in alone + first
    numbers, wanted = ([float(number) for number in re.findall(NUMBER, text)] for text in (first, alone))
    assert numbers and len(numbers) == len(wanted)
    if is_same:
        assert numbers == pytest.approx(wanted, rel=2e-3)
        assert first.rpartition("ids")[1:] == alone.rpartition("ids")[1:] or "ids" not in first


@pytest.mark.parametrize("name", CASES)
def test_what_the_scripts_import_is_on_the_page(name: str) -> None:
    page = (ROOT / "docs" / "coming-from.md").read_text()
    imports = re.findall(r"^(?:import|from) dtrain.*$", (SCRIPTS / f"{name}.py").read_text(), re.MULTILINE)
    assert imports
    for line in imports:
        module = line.split(" import ")[0].removeprefix("from ").removeprefix("import ")
        assert f"`{module}" in page or f"from {module} import" in page or f"import {module}" in page, line


def test_there_are_four() -> None:
    assert sorted(CASES) == sorted(path.stem for path in SCRIPTS.glob("*.py"))
    assert not os.environ.get("DTRAIN_RANK")
