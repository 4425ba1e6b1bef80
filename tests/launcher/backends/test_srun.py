"""`--launcher srun` with a stand-in for srun that starts its tasks here; a real one is in test_slurm.py."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest

from dtrain.launcher.backends import srun
from dtrain.launcher.backends.srun import SrunBackend
from dtrain.launcher.backends.table import choose, within_allocation
from dtrain.launcher.command.flags import parse_run
from dtrain.launcher.plan.environment import rank_variables
from dtrain.launcher.plan.launch_plan import Machine
from dtrain.launcher.plan.spec import UsageError

FAKE = Path(__file__).parents[2] / "helpers" / "fake_srun.py"
MACHINE = Machine(host="here", cores=(0, 1), num_cores=2, devices=(), python="python", is_root=False)
ALWAYS = "--kill-on-bad-exit=0 --input=none --cpu-bind=none --mpi=pmix"
SLURM = {"SLURM_JOB_ID": "7", "SLURM_TASKS_PER_NODE": "2(x2)", "SLURM_NTASKS": "4"}


@pytest.fixture
def site(monkeypatch, tmp_path):
    """A PATH whose first srun is ours."""
    folder = tmp_path / "bin"
    folder.mkdir()
    path = folder / "srun"
    path.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return folder


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["-np", "3"], f"srun --ntasks 3 {ALWAYS}"),
        (["-np", "4", "-N", "2"], f"srun --ntasks 4 --ntasks-per-node 2 {ALWAYS}"),
        (["-H", "a:2,b:2"], f"srun --ntasks 4 --nodes 2 --nodelist a,b --ntasks-per-node 2 {ALWAYS}"),
        (
            ["-np", "2", "--mpi-args=--mpi=pmi2 --overlap"],
            "srun --ntasks 2 --kill-on-bad-exit=0 --input=none --cpu-bind=none --mpi=pmi2 --overlap",
        ),
        ([], f"srun --ntasks 4 {ALWAYS}"),  # all of the allocation
    ],
)
def test_recorded_commands(site, arguments, text):
    spec = within_allocation(parse_run(["--launcher", "srun", *arguments, "train.py"], {}), SLURM)
    plan = SrunBackend(spec).plan(spec, MACHINE, rank_variables({"PATH": "/bin"}, {}))
    [command] = plan.commands
    assert str(command).partition(" python ")[0] == text
    assert plan.reason == f"slurm 23.11.4 ({site}/srun)"


def test_uneven_hosts_are_refused():
    with pytest.raises(UsageError, match="expected as many ranks on each host, got 1, 2; use --launcher mpirun"):
        parse_run(["--launcher", "srun", "-H", "a:2,b:1", "train.py"], {})


@pytest.mark.parametrize(
    ("mpirun", "env", "name"), [(None, SLURM, "srun"), ("/mpirun", SLURM, "mpirun"), (None, {}, "mpirun")]
)
def test_auto_takes_it_in_an_allocation_without_mpirun(site, monkeypatch, mpirun, env, name):
    monkeypatch.setattr(srun, "find_mpirun", lambda: mpirun)
    chosen, reason = choose(within_allocation(parse_run(["-np", "2", "train.py"], {}), env))
    assert chosen == name
    assert (reason == "2 ranks in a Slurm allocation without mpirun") is (name == "srun")


@pytest.fixture
def srun_of(run, site):
    run.env |= {"PATH": f"{site}:{run.env['PATH']}", "FAKE_SRUN_LOG": str(site / "log")}
    assert shutil.which("srun", path=run.env["PATH"]) == str(site / "srun")
    return lambda *arguments: run("--launcher", "srun", "--quiet", "--no-tag", *arguments)


def test_ranks_start_talk_and_end(run, srun_of, site):
    script = run.script("import os, sys\nprint(os.environ['RANK'], os.environ['WORLD_SIZE'], sys.stdin.read(1))\n")
    ended = srun_of("-np", "3", script)
    assert ended.code == 0, ended.err
    assert sorted(line.split() for line in ended.out.splitlines()) == [["0", "3"], ["1", "3"], ["2", "3"]]
    assert json.loads((site / "log").read_text())["--kill-on-bad-exit"] == "0"


def test_a_rank_that_fails_is_named_with_its_code(run, srun_of):
    script = run.script("import os, time\nif os.environ['RANK'] == '1': raise SystemExit(7)\ntime.sleep(60)\n")
    ended = srun_of("-np", "2", script)
    assert ended.code == 7
    assert "rank 1 of 2 failed: exit code 7" in ended.err
    assert ended.seconds < 20


def test_srun_that_cannot_start_them_says_why(run, srun_of, site):
    (site / "srun").write_text(
        "#!/bin/sh\n[ $1 = --version ] || { echo 'srun: error: Invalid MPI type' >&2; exit 1; }\n"
    )
    ended = srun_of("-np", "2", run.script(""))
    assert ended.code == 125
    assert "srun left with code 1 before ranks 0, 1 came up; it said:\n    srun: error: Invalid MPI type" in ended.err


def test_stopping_the_launcher_stops_them(run, srun_of, site):
    script = run.script("import os, time\nprint('up', flush=True)\ntime.sleep(60)\n")
    process = run.start("--launcher", "srun", "--quiet", "--no-tag", "-np", "2", script)
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGTERM)
    ended = run.finish(process)
    assert ended.code == 143
    assert "stopped by SIGTERM" in ended.err and ended.seconds < 15


# The rank is gone before its supervisor, which stands still, has told how it ended: Slurm's kill is always first.
FAIL_BEFORE_WATCHED = """
import os, signal, sys, time
leave = os._exit
def leave_unseen(code):
    os.kill(os.getppid(), signal.SIGSTOP)
    leave(code)
os._exit = leave_unseen
if os.environ["RANK"] == "2": {end}
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("end", "order", "code", "words"),
    [
        ("raise ValueError('bad data')", "0,1,2,3", 1, "ValueError: bad data (exit code 1)"),
        ("raise ValueError('bad data')", "2,3,1,0", 1, "ValueError: bad data (exit code 1)"),
        ("sys.exit(7)", "3,2,0,1", 7, "exit code 7"),
        # Of this one nobody but Slurm can tell.
        ("os._exit(7)", "0,1,2,3", 137, "killed by SIGKILL (signal 9), or its host was lost"),
    ],
)
def test_the_first_rank_is_named_though_slurm_kills_them_all_for_it(run, srun_of, order, end, code, words):
    run.env["FAKE_SRUN_KILLS"] = order
    ended = srun_of("-np", "4", run.script(FAIL_BEFORE_WATCHED.replace("{end}", end)))
    assert ended.code == code
    assert f"dtrain: rank 2 of 4 failed: {words}" in ended.err
    assert ended.seconds < 20
