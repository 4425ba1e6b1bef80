"""What mpirun keeps on disk while it runs: a folder of the job's own, so that nothing of a killed job is in its way."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from dtrain.launcher.backends.processes import FOLDER, StartedProcesses

# Numbers that the next processes may get; mpirun names its own folder after its number.
NEXT = 1500


def test_a_folder_goes_with_its_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    started = StartedProcesses()
    folder = Path(started.make_folder())
    (folder / "left" / "behind").mkdir(parents=True)
    started.add(["sleep", "60"], os.environ)
    started.kill()
    started.kill()
    assert started.poll() == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


def test_a_folder_stays_until_a_killed_process_is_gone(tmp_path, monkeypatch):
    """One that still runs for a moment would make the folder anew, and leave it."""

    class Dying:
        pid, code, stdout = 0, None, None

        def poll(self):
            return self.code

        def wait(self, timeout):
            if timeout < 0.1:
                raise subprocess.TimeoutExpired("dying", timeout)
            (folder / "last words").touch()
            self.code = -signal.SIGKILL
            return self.code

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("os.killpg", lambda pid, number: None)
    started, dying = StartedProcesses(), Dying()
    folder = Path(started.make_folder())
    started._processes.append(dying)
    started.kill()
    assert dying.code == -signal.SIGKILL and list(tmp_path.iterdir()) == []


def test_folders_of_killed_launchers_go_with_a_later_job(tmp_path, monkeypatch):
    """Empty ones, after an hour: another launcher may just have made its own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("old", "new", "full"):
        (tmp_path / f"{FOLDER}{name}").mkdir()
    (tmp_path / f"{FOLDER}full" / "ompi.7").touch()
    for name in ("old", "full"):
        os.utime(tmp_path / f"{FOLDER}{name}", (0, 0))
    started = StartedProcesses()
    started.make_folder()
    started.kill()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{FOLDER}full", f"{FOLDER}new"]


@pytest.mark.distributed
def test_what_killed_jobs_have_left_stops_no_job(run):
    """Files stand where the folder of mpirun would be. Then mpirun itself is killed, and leaves nothing either."""
    folder = run.folder / "tmp"
    folder.mkdir()
    run.env["TMPDIR"] = str(folder)
    limit = int(Path("/proc/sys/kernel/pid_max").read_text())
    planted = {f"ompi.{number % limit}" for number in range(os.getpid(), os.getpid() + NEXT)}
    for name in planted:
        (folder / name).touch()
    script = run.script("import time\nfrom mpi4py import MPI\nprint('begin', flush=True)\ntime.sleep(60)\n")
    process = run.start("--launcher", "mpirun", "-np", "2", "--quiet", script)
    for _ in range(2):
        assert "begin" in process.stdout.readline(), process.stderr.read()
    (mpirun,) = psutil.Process(process.pid).children()
    assert len(set(os.listdir(folder)) - planted) >= 1
    begin = time.monotonic()
    mpirun.kill()
    ended = run.finish(process, begin)
    assert ended.code == 137
    assert set(os.listdir(folder)) == planted
