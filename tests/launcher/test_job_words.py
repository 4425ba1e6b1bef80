"""Whole jobs under the real command: exit codes, verdicts, what goes in and what comes out."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from helpers.training_job import LAUNCHERS, OF_SLURM, TRAIN, left_behind, train


@pytest.mark.parametrize("launcher", [*LAUNCHERS, OF_SLURM])
def test_all_end_well(run_by, launcher):
    script = run_by.script(
        "import os, sys\n"
        "names = 'RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK DTRAIN_RANK MASTER_ADDR'.split()\n"
        "print(*(os.environ[name] for name in names), sys.argv[1:], 'A' in os.environ and os.environ['A'])\n"
        "print(int(os.environ['OMP_NUM_THREADS']) == int(os.environ['OPENBLAS_NUM_THREADS']) >= 1, file=sys.stderr)\n"
    )
    ended = run_by("--launcher", launcher, "-np", "2", "-x", "A=b", script, "-np", "9")
    assert ended.code == 0, ended.err
    assert sorted(ended.out.splitlines()) == [
        "[0] 0 2 0 2 0 0 127.0.0.1 ['-np', '9'] b",
        "[1] 1 2 1 2 0 1 127.0.0.1 ['-np', '9'] b",
    ]
    lines = ended.err.splitlines()
    assert lines[0].startswith(f"dtrain: 2 ranks by {launcher} (asked for")
    assert lines[1].split() == ["rank", "host", "node", "local", "cores", "threads", "device", "pid"]
    assert [line for line in lines if line.startswith("threads per rank: ")]
    assert sorted(line for line in lines if line.startswith("[")) == ["[0] True", "[1] True"]


ENDS = {
    "raise": ("fail()", 1, "failed: ValueError: bad data in shard 7 (exit code 1)"),
    "exit": ("sys.exit(7)", 7, "failed: exit code 7"),
    "os_exit": ("os._exit(9)", 9, "failed: exit code 9"),
    "crash": (
        "os.kill(os.getpid(), signal.SIGSEGV)",
        139,
        "failed: killed by SIGSEGV (signal 11), a crash in native code",
    ),
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("end", ENDS)
def test_one_rank_fails(run, launcher, end):
    check_one_fails(run, launcher, *ENDS[end])


@pytest.mark.parametrize("launcher", [OF_SLURM])
@pytest.mark.parametrize("end", ["raise", "exit"])  # Slurm may kill the supervisor of one that cannot say how it ends
def test_one_rank_of_slurm_fails(run_by, launcher, end):
    check_one_fails(run_by, launcher, *ENDS[end])


def check_one_fails(run, launcher, action, code, text):
    ended = train(run, launcher, 1, action, "--quiet", "--log-dir", "logs")
    assert ended.code == code
    assert f"dtrain: rank 1 of 3 {text}" in ended.err
    assert ended.err.rstrip().endswith("-" * 72)
    assert "host " in ended.err
    record = json.loads((run.folder / "logs" / "failure.json").read_text())
    assert (record["kind"], record["exit_code"], record["ranks"]) == ("failure", code, [1])
    if action == "fail()":
        assert "/launcher/" not in record["first"]["traceback"]
        assert "in fail" in record["first"]["traceback"]
        assert "ValueError: bad data in shard 7" in (run.folder / "logs" / "rank.01" / "stderr").read_text()
    assert left_behind(run.folder) == []


@pytest.mark.distributed
@pytest.mark.parametrize("who", [0, 1])
def test_a_rank_that_skips_the_end_of_mpi_with_code_0_is_named(run, who):
    script = run.script(
        "import os, dtrain as dt\n"
        "from dtrain import collectives as dist\n"
        "dist.init()\n"
        f"if dist.rank() == {who}: os._exit(0)\n"
        "dist.all_reduce(dt.tensor([1.0]))\n"
    )
    ended = run("--launcher", "mpirun", "-np", "2", "--quiet", "--log-dir", "logs", script)
    assert ended.code != 0
    assert f"dtrain: rank {who} of 2 " in ended.err
    record = json.loads((run.folder / "logs" / "failure.json").read_text())
    assert (record["ranks"], record["first"]["rank"]) == ([who], who)
    assert left_behind(run.folder) == []


@pytest.mark.parametrize("code", [256, -512, 257, 2**70])
def test_codes_of_more_than_eight_bits_are_no_good_end(run, code):
    flags = ("--launcher", "local", "-np", "2", "--quiet", "--timeout", "15")
    ended = run(*flags, run.script(ONE_EXITS), "1", str(code))
    assert ended.code == 1
    assert f"dtrain: rank 1 of 2 failed: exit code 1: the script asked for {str(code)[:10]}" in ended.err


ONE_EXITS = "import os, sys, time\nif os.environ['RANK'] == sys.argv[1]: sys.exit(int(sys.argv[2]))\ntime.sleep(60)\n"


@pytest.mark.parametrize("launcher", [*LAUNCHERS, OF_SLURM])
def test_a_schedule_mismatch(run_by, launcher):
    action = (
        "from dtrain.control.client import control_client\n"
        "control_client().send_schedule('world', 0, str(rank), f'all_reduce f32[{rank}]')"
    )
    script = run_by.script(TRAIN.replace("rank == int(who)", "rank != int(who)"))
    ended = run_by("--launcher", launcher, "-np", "3", "--quiet", script, launcher, "1", action)
    assert ended.code == 120
    assert "dtrain: schedule mismatch: ranks 0 and 2 of group world" in ended.err
    assert "-all_reduce f32[0]" in ended.err
    assert "+all_reduce f32[2]" in ended.err
    assert left_behind(run_by.folder) == []


def test_progress_is_part_of_the_verdict(run):
    script = run.script(
        "import time\nfrom dtrain.control.client import control_client\n"
        "control_client().progress(41, 'all_reduce')\ntime.sleep(0.5)\nraise SystemExit(4)\n"
    )
    ended = run("--quiet", script)
    assert ended.code == 4
    assert ", collective 41 all_reduce" in ended.err


def test_ranks_that_cannot_be_started(run):
    fake = run.folder / "bin" / "mpirun"
    fake.parent.mkdir()
    fake.write_text(
        f"#!{sys.executable}\nimport sys\n"
        "if '--version' in sys.argv: print('mpirun (Open MPI) 5.0.0'); sys.exit()\n"
        "print('There are not enough slots available'); sys.exit(1)\n"
    )
    fake.chmod(0o755)
    code = (
        "import sys; from dtrain import cli; from dtrain.launcher.plan import mpi_installation;"
        f"mpi_installation.find_mpirun = lambda: {str(fake)!r};"
        "sys.exit(cli.main(['run', '-np', '2', sys.argv[1]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, run.script("")], env=run.env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 125
    assert "dtrain: could not start" in done.stderr
    assert "mpirun left with code 1 before ranks 0, 1 came up; it said:" in done.stderr
    assert "There are not enough slots available" in done.stderr


def test_output_of_many_lines_is_whole(run):
    script = run.script("import os\nfor i in range(20000): print(os.environ['RANK'] * 50, i)\n")
    ended = run("--launcher", "local", "-np", "2", "--quiet", script)
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert len(lines) == 40000
    for rank in "01":
        mine = [line for line in lines if line.startswith(f"[{rank}]")]
        assert mine == [f"[{rank}] {rank * 50} {i}" for i in range(20000)]


def test_standard_input_goes_to_rank_zero(run):
    script = run.script("import os, sys\nprint(repr(sys.stdin.read()))\n")
    process = run.start("--launcher", "local", "-np", "2", "--quiet", script, stdin=subprocess.PIPE)
    out, _ = process.communicate("hello", timeout=30)
    assert sorted(out.splitlines()) == ["[0] 'hello'", "[1] ''"]


def test_the_script_is_main_as_ever(run):
    run.script("import helper\nprint(__name__, __file__.endswith('script.py'), helper.X)\n")
    run.script("X = 5\n", "helper.py")
    ended = run("--quiet", str(run.folder / "script.py"))
    assert (ended.code, ended.out) == (0, "__main__ True 5\n")
    module = run("--quiet", "-m", "script")
    assert (module.code, module.out) == (0, "__main__ True 5\n")


def test_spawned_workers_find_the_script(run):
    script = run.script(
        "import multiprocessing\n"
        "def square(x): return x * x\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool: print(pool.map(square, [2, 3]))\n"
    )
    ended = run("--quiet", script)
    assert (ended.code, ended.out) == (0, "[4, 9]\n"), ended.err


def test_messages_of_sys_exit(run):
    ended = run("--quiet", run.script("import sys\nsys.exit('no data here')\n"))
    assert ended.code == 1
    assert "no data here" in ended.err
