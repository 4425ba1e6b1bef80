"""Scripts in PyTorch's and Horovod's habits run when nothing but their import lines change, on all numbers of ranks.

`ported/` holds them as they are written for PyTorch; `port` changes the lines as docs/coming-from.md says.
"""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from dtrain.base.names import IMPORTS
from dtrain.collectives.world import context
from tests.helpers.run_ranks import mpi_environment, require_mpi, run_command

SCRIPTS = Path(__file__).with_name("ported")
# The batch is shared out over the ranks; what is drawn per rank, and statistics per rank, are off.
ARGUMENTS = {
    "ddp_trainer": ["--epochs", "2", "--dropout", "0"],
    "horovod_mnist": ["--epochs", "2", "--dropout", "0"],
    "transformer_lm": ["--epochs", "1", "--dropout", "0"],
    "cnn_trainer": ["--epochs", "1", "--dropout", "0", "--sync-bn"],
}


def port(line: str) -> str:
    """An import line as the page has it; any other line as it is."""
    return IMPORTS.get(line) or re.sub(r"^(import|from) torch\b", r"\1 dtrain", line)


def ported(name: str, folder: Path) -> Path:
    script = folder / f"{name}.py"
    lines = (SCRIPTS / f"{name}.py").read_text().splitlines()
    script.write_text("\n".join(map(port, lines)) + "\n")
    return script


def results(output: str) -> list[float]:
    """The numbers of the lines that say how an epoch went."""
    lines = re.findall(r"^(?:\[0\] )?(epoch .*|Test set.*|dogs .*)$", output, re.MULTILINE)
    assert len(lines) >= 1 and not any("nan" in line for line in lines), output
    return [float(number) for line in lines for number in re.findall(r"-?\d+\.\d+", line)]


def on_one_rank(script: Path, arguments: list[str], monkeypatch, capsys) -> str:
    monkeypatch.setattr(sys, "argv", [script.name, *arguments])
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        context.finalize()
    return str(capsys.readouterr().out)


def on_three_ranks(script: Path, arguments: list[str]) -> str:
    require_mpi()
    launcher = [sys.executable, "-m", "dtrain.cli", "run", "-np", "3", "-q"]
    environment = {**mpi_environment(), "PWD": str(script.parent)}
    job = run_command([*launcher, str(script), *arguments], timeout=120, env=environment)
    assert job.returncode == 0, job.stdout
    return str(job.stdout)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_script_runs_on_one_rank_and_on_three(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    losses = []
    for ranks in (1, 3):
        folder = tmp_path / str(ranks)  # of its own, since the scripts resume from what they find
        folder.mkdir()
        monkeypatch.chdir(folder)
        script = ported(name, folder)
        one = ranks == 1
        text = (
            on_one_rank(script, ARGUMENTS[name], monkeypatch, capsys)
            if one
            else on_three_ranks(script, ARGUMENTS[name])
        )
        losses.append(results(text))
    assert len(losses[0]) >= 3
    assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=2e-4)


@pytest.mark.parametrize("name", ["ddp_trainer", "horovod_mnist"])
def test_a_script_resumes_from_its_own_checkpoint(name: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    script = ported(name, tmp_path)
    whole = results(on_one_rank(script, ["--epochs", "2", "--dropout", "0"], monkeypatch, capsys))
    for file in (*tmp_path.glob("*.pt"), *tmp_path.glob("*.tar")):
        file.unlink()
    on_one_rank(script, ["--epochs", "1", "--dropout", "0"], monkeypatch, capsys)
    rest = results(on_one_rank(script, ["--epochs", "2", "--dropout", "0"], monkeypatch, capsys))
    assert len(rest) == len(whole) / 2
    assert rest == pytest.approx(whole[-len(rest) :], rel=1e-4)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_nothing_but_import_lines_changes(name: str, tmp_path: Path) -> None:
    theirs = (SCRIPTS / f"{name}.py").read_text().splitlines()
    ours = ported(name, tmp_path).read_text().splitlines()
    changed = [line for line, other in zip(theirs, ours, strict=True) if line != other]
    assert len(changed) >= 6 and all(line.startswith(("import ", "from ")) for line in changed)
    assert sorted(ARGUMENTS) == sorted(path.stem for path in SCRIPTS.glob("*.py"))
