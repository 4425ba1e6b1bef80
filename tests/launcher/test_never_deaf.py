"""Floods of output, readers that pause, lines without end: the job hears, and ends within two seconds."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest

pytestmark = pytest.mark.alone

FLOOD = """
import os, signal, sys, threading, time
fault = sys.argv[1]
print("begin", os.getpid(), flush=True)
time.sleep(0.5)
def flood():
    while True:
        sys.stdout.write("x" * 60 + "\\n")
if os.environ["RANK"] == "1" and fault:
    threading.Thread(target=flood, daemon=True).start()
    time.sleep(0.5)
    exec(fault)
flood()
"""


def begin(run, fault, *flags):
    process = run.start("--launcher", "local", "-np", "2", "--quiet", *flags, run.script(FLOOD), fault)
    pids = []
    while len(pids) < 2:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        if "begin" in line:
            pids.append(int(line.split()[-1]))
    return process, pids


def still_alive(pids):
    return [pid for pid in pids if _is_alive(pid)]


def _is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:  # it may go between any two questions
        return False


def wait_until_full(process):
    """Until the launcher cannot write any more because we do not read; returns how much its memory grew since then."""
    time.sleep(1.0)
    full = psutil.Process(process.pid).memory_info().rss
    time.sleep(1.0)
    assert process.poll() is None
    return psutil.Process(process.pid).memory_info().rss - full


@contextlib.contextmanager
def slow_reader(process):
    """Reads without pause, but slower than the ranks print; yields what is read."""
    pieces, is_over = [], threading.Event()

    def read():
        while piece := os.read(process.stdout.fileno(), 1 << 16):
            pieces.append(piece)
            if not is_over.is_set():
                time.sleep(0.05)

    reading = threading.Thread(target=read, daemon=True)
    reading.start()
    yield pieces
    is_over.set()
    reading.join(20)
    assert not reading.is_alive()


def wait_until_dead(pids, seconds):
    until = time.monotonic() + seconds
    while still_alive(pids) and time.monotonic() < until:
        time.sleep(0.02)
    assert still_alive(pids) == []


def test_stopping_a_job_whose_reader_has_paused(run):
    process, pids = begin(run, "")
    assert wait_until_full(process) < 8 << 20, "what nobody reads stays with the ranks"
    assert psutil.Process(process.pid).memory_info().rss < 100 << 20
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    assert process.wait(timeout=20) == 130
    assert time.monotonic() - begun < 2.0
    assert still_alive(pids) == []
    assert "stopped by SIGINT" in process.stderr.read()


def test_a_rank_dies_while_the_reader_has_paused(run):
    """The ranks end, the verdict comes at once where it is read, the launcher stays for the rest of the output."""
    process, pids = begin(run, "raise ValueError('a')")
    assert select.select([process.stderr], [], [], 15.0)[0]
    wait_until_dead(pids, 3)
    ended = run.finish(process)
    assert ended.code == 1
    assert "rank 1 of 2 failed" in ended.err
    assert ended.out.endswith("\n")


def test_a_rank_dies_amid_a_flood(run):
    process, _ = begin(run, "sys.exit(3)")
    ended = run.finish(process)
    assert ended.code == 3
    assert ended.seconds < 10
    assert "rank 1 of 2 failed" in ended.err


@pytest.mark.parametrize(("fault", "flags", "code"), [("sys.exit(3)", (), 3), ("", ("--timeout", "2"), 124)])
def test_a_flood_before_a_reader_that_is_slower(run, fault, flags, code):
    """There is output to be written at every moment, and never a moment without."""
    process, pids = begin(run, fault, *flags)
    with slow_reader(process) as pieces:
        assert select.select([process.stderr], [], [], 10.0)[0], "the verdict waits for no output of others"
        wait_until_dead(pids, 2)
        assert pieces
    assert process.wait(timeout=20) == code


def test_a_signal_while_the_ranks_start(run):
    """A cluster that does not answer for long must not make the launcher deaf."""
    starter = run.folder / "starter.py"
    starter.write_text(
        "import time\n"
        "from dtrain import cli\n"
        "from dtrain.launcher.backends import local\n"
        "def start(self, plan, control):\n"
        "    print('starting', flush=True)\n"
        "    time.sleep(60)\n"
        "local.LocalBackend.start = start\n"
        "raise SystemExit(cli.main(['run', 'script.py']))\n"
    )
    run.script("")
    process = subprocess.Popen(
        [sys.executable, str(starter)], cwd=run.folder, env=run.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    run.processes.append(process)
    assert process.stdout.readline() == b"starting\n"
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    _, err = process.communicate(timeout=20)
    assert process.returncode == 143
    assert time.monotonic() - begun < 5
    assert b"stopped by SIGTERM" in err


def test_lines_of_any_length_pass_whole(run):
    script = run.script(
        "import os, sys\n"
        "rank = os.environ['RANK']\n"
        "for i in range(3): print(rank * 64_000, i)\n"
        "sys.stdout.write(rank * 900_000 + '\\n')\n"
        "sys.stderr.buffer.write(rank.encode() * 300_000); sys.stderr.buffer.flush()\n"
    )
    ended = run("--launcher", "local", "-np", "2", "--quiet", script)
    assert ended.code == 0
    for rank in "01":
        lines = [line.removeprefix(f"[{rank}] ") for line in ended.out.splitlines() if line.startswith(f"[{rank}]")]
        assert lines == [*(f"{rank * 64_000} {i}" for i in range(3)), rank * 900_000]
        assert ended.err.count(rank) >= 300_000
    assert ended.seconds < 20


def test_a_launcher_without_streams(run):
    """Started by a daemon that has closed them: the job runs, its logs are kept."""
    script = run.script("import os, sys\nprint('out')\nprint('err', file=sys.stderr)\nos._exit(3)\n")
    code = f"exec {sys.executable} -m dtrain.cli run --log-dir logs {script} >&- 2>&- <&-"
    done = subprocess.run(["/bin/sh", "-c", code], cwd=run.folder, env=run.env, timeout=60, check=False)
    assert done.returncode == 3
    assert (run.folder / "logs" / "rank.00" / "stdout").read_text() == "out\n"
    assert (run.folder / "logs" / "rank.00" / "stderr").read_text() == "err\n"


def test_a_full_disk_under_our_output_is_said_and_ends_nothing(run):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "dtrain.cli", "run", "--quiet", run.script("print('a')\nprint('b')\n")],
            cwd=run.folder,
            env=run.env,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0
    assert done.stderr.count("dtrain: cannot write stdout any more: No space left on device") == 1
