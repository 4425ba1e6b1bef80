"""`-m NAME` is checked without running a line of it; what is no script gets advice."""

from __future__ import annotations

import sys

import pytest

from dtrain.cli import main
from dtrain.launcher.command.module_file import find_module, problem_of_module


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Modules that would tell if somebody imported them."""
    trap = "raise SystemExit('imported')\n"
    for name in (
        "pkg/__init__.py", "pkg/train.py", "pkg/deep/__init__.py", "pkg/deep/run.py", "able/__main__.py",
        "space/tool.py", "ok.py",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(trap)
    (tmp_path / "train.py").write_text(trap)
    (tmp_path / "run.sh").write_text("dtrain run train.py\n")
    (tmp_path / "job").write_text("#!/usr/bin/env bash\ndtrain run train.py\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["pkg.train", "pkg.deep.run", "able", "space.tool", "ok", "json.tool", "dtrain"])
def test_modules_that_can_be_run(folder, name):
    before = set(sys.modules)
    assert problem_of_module(name) == ""
    assert not {"pkg", "able", "space", "ok"} & (set(sys.modules) - before)
    assert find_module(name).name == name


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("ok.py", "leave -m out to run a file"),
        ("pkg/train.py", "leave -m out to run a file"),
        ("pkg", "the package needs a __main__.py"),
        ("pkg.deep", "the package needs a __main__.py"),
        ("pkg.none", "run it from the folder"),
        ("ok.train", "run it from the folder"),
        ("no_such_module", "run it from the folder"),
        ("pkg..train", "run it from the folder"),
        (".", "run it from the folder"),
    ],
)
def test_modules_that_cannot(folder, name, advice):
    assert advice in problem_of_module(name)
    assert main(["run", "-np", "1", "-m", name]) == 2


def test_plan_only_imports_nothing(folder, capsys):
    assert main(["run", "--launcher", "local", "--plan-only", "-m", "pkg.train"]) == 0
    assert "rank_main.py -m pkg.train" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (["run", "python", "train.py"], "leave python out: dtrain run train.py"),
        (["run", "-np", "2", "/usr/bin/python3", "-u", "train.py"], "leave python3 out: dtrain run train.py"),
        (["run", "python3.11", "-m", "pkg.train"], "leave python3.11 out: dtrain run -m pkg.train"),
        (["run", "python3", "-u", "-W", "ignore", "train.py"], "leave python3 out: dtrain run train.py"),
        (
            ["run", "mpirun", "-np", "2", "python", "train.py"],
            "leave mpirun and its flags out: dtrain run -np 2 train.py",
        ),
        (["run", "torchrun", "--nproc_per_node=2", "-m", "pkg.train"], "flags out: dtrain run -np 2 -m pkg.train"),
        (["run", "dtrain", "run", "train.py"], "leave dtrain and its flags out: dtrain run -np 2 train.py"),
        (["run", "bash", "run.sh"], "ranks run Python; call `dtrain run train.py` inside of the shell script"),
        (["run", "./run.sh"], "ranks run Python; call `dtrain run train.py` inside of the shell script"),
        (["run", "job"], "ranks run Python; call `dtrain run train.py` inside of the shell script"),
        (["run", "trian.py"], "which does not exist; did you mean train.py?"),
        (["run", "pkg/trains"], "which does not exist; did you mean pkg/train.py?"),
        (["run", "nowhere/train.py"], "which does not exist\n"),
        (["train.py", "--epochs", "3"], "did you mean dtrain run train.py --epochs 3?"),
        (["-np", "2", "train.py"], "did you mean dtrain run -np 2 train.py?"),
        (["rnu", "train.py"], "did you mean dtrain run?"),
        (["docter"], "did you mean dtrain doctor?"),
        (["zzz"], "see dtrain --help"),
    ],
)
def test_what_people_type_instead(folder, capsys, arguments, advice):
    assert main(arguments) == 2
    assert advice in capsys.readouterr().err
