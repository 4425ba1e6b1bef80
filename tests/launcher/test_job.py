"""Whole jobs that are stopped, killed or late: each ends within seconds, and nothing is left behind.

Under the launchers of tests/helpers/training_job.py. What a job says and gives otherwise is in test_job_words.py.
"""

from __future__ import annotations

import os
import signal
import time

import psutil
import pytest
from helpers.training_job import LAUNCHERS, OF_SLURM, TRAIN, left_behind, train

pytestmark = pytest.mark.alone


def still_running(processes, timeout):
    """Those not gone after a while. A zombie is gone: only its parent, or init, has not looked yet."""
    until = time.monotonic() + timeout
    while True:
        alive = [one for one in processes if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        if not alive or time.monotonic() > until:
            return alive
        time.sleep(0.02)


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_kill_nine_of_one_rank(run, launcher):
    """Verdict, code 137 and an empty machine within two seconds, the rank's own children included."""
    action = "subprocess.Popen(['sleep', '60'], start_new_session=True); print('mine', flush=True); time.sleep(60)"
    process = run.start("--launcher", launcher, "-np", "3", run.script(TRAIN), launcher, "1", action)
    pids = {}
    grandchild = False
    while len(pids) < 3 or not grandchild:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        if " begin " in line:
            pids[int(line[1])] = int(line.split()[2])
        grandchild = grandchild or "mine" in line
    victims = [psutil.Process(pid) for pid in pids.values()]
    descendants = psutil.Process(process.pid).children(recursive=True)
    assert any(one.name() == "sleep" for one in descendants)
    begin = time.monotonic()
    os.kill(pids[1], signal.SIGKILL)
    ended = run.finish(process, begin)
    assert ended.code == 137
    assert ended.seconds < 2.0
    assert "dtrain: rank 1 of 3 failed: killed by SIGKILL (signal 9)" in ended.err
    assert f"pid {pids[1]}" in ended.err
    assert still_running([*victims, *descendants], timeout=0.5) == []
    assert left_behind(run.folder) == []


@pytest.mark.parametrize("launcher", [*LAUNCHERS, OF_SLURM])
def test_a_timeout_shows_where_every_rank_stands(run_by, launcher):
    ended = train(run_by, launcher, 1, "time.sleep(60)", "--quiet", "--timeout", "3")
    assert ended.code == 124
    assert "dtrain: timeout: the job ran longer than 3 s" in ended.err
    assert ended.err.count("stands at (newest call first):") == 3
    assert 'File "<string>", line 1 in <module>' in ended.err  # where rank 1 sleeps
    assert ended.err.count("script.py") >= 3
    assert "/launcher/" not in ended.err
    assert left_behind(run_by.folder) == []


@pytest.mark.parametrize("launcher", [*LAUNCHERS, OF_SLURM])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_stopping_the_launcher(run_by, launcher, number, code):
    process = run_by.start("--launcher", launcher, "-np", "2", "--quiet", run_by.script(TRAIN), launcher, "0", "pass")
    for _ in range(2):
        assert "begin" in process.stdout.readline()
    process.send_signal(number)
    ended = run_by.finish(process)
    assert ended.code == code
    assert ended.seconds < 5
    assert f"stopped by {number.name}" in ended.err
    assert left_behind(run_by.folder) == []


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_killing_the_launcher_leaves_no_orphan(run, launcher):
    process = run.start("--launcher", launcher, "-np", "2", "--quiet", run.script(TRAIN), launcher, "0", "pass")
    for _ in range(2):
        assert "begin" in process.stdout.readline()
    descendants = psutil.Process(process.pid).children(recursive=True)
    assert len(descendants) >= 4
    process.kill()
    process.communicate()
    assert still_running(descendants, timeout=5) == []


def test_grace_lets_a_rank_save_its_work(run):
    script = run.script(
        "import os, signal, sys, time\n"
        "def save(number, frame):\n    time.sleep(0.5); print('saved', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print('begin', flush=True)\n"
        "if os.environ['RANK'] == '1':\n    time.sleep(0.3); sys.exit(3)\n"
        "time.sleep(60)\n"
    )
    ended = run("--launcher", "local", "-np", "2", "--grace", "5", script)
    assert ended.code == 3
    assert "[0] saved" in ended.out
    assert ended.seconds < 5
    hurried = run("--launcher", "local", "-np", "2", "--grace", "0.1", script)
    assert hurried.code == 3
    assert "[0] saved" not in hurried.out


def test_grace_also_holds_for_a_signal_to_the_processes_of_a_rank(run):
    """A batch system signals whatever runs on a node, and not our launcher."""
    script = run.script(
        "import os, signal, sys, time\n"
        "def save(number, frame):\n    time.sleep(1.6); print('saved', flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "time.sleep(60)\n"
    )
    ended = run("--launcher", "local", "--grace", "8", script)
    assert ended.out == "saved\n"
    assert ended.seconds < 7


def test_user_signals_reach_the_ranks(run):
    script = run.script(
        "import signal, sys, time\n"
        "def got(number, frame):\n    print('got', signal.Signals(number).name, flush=True); sys.exit(0)\n"
        "signal.signal(signal.SIGUSR1, got)\n"
        "print('begin', flush=True)\n"
        "while True: time.sleep(0.1)\n"
    )
    process = run.start("--launcher", "local", "-np", "2", script)
    for _ in range(2):
        assert "begin" in process.stdout.readline()
    process.send_signal(signal.SIGUSR1)
    ended = run.finish(process)
    assert ended.code == 0
    assert sorted(ended.out.splitlines()) == ["[0] got SIGUSR1", "[1] got SIGUSR1"]


def test_a_reader_that_leaves_ends_the_job(run):
    script = run.script("import time\nwhile True:\n    print('line', flush=True); time.sleep(0.01)\n")
    process = run.start("--launcher", "local", "-np", "2", "--quiet", script)
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.wait(timeout=20) == 141
        assert "Traceback" not in process.stderr.read()
    assert left_behind(run.folder) == []


def test_output_is_seen_when_it_is_written(run):
    run.env.pop("PYTHONUNBUFFERED", None)
    ended = run("--quiet", run.script("import os\nprint('line')\nprint('no end', end='')\nos.kill(os.getpid(), 9)\n"))
    assert (ended.code, ended.out) == (137, "line\nno end\n")
