"""Facts of the machine, read on this one."""

from __future__ import annotations

import os
import subprocess
import sys

from dtrain.launcher.machine import (
    address_towards,
    kill_processes_with,
    oom_kills,
    processes_with,
    usable_cores,
    visible_devices,
)


def test_cores_and_memory():
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))
    assert oom_kills() >= 0


def test_devices(monkeypatch):
    monkeypatch.setattr(os, "listdir", lambda path: ["null", "nvidia1", "nvidia0", "nvidiactl", "nvidia10"])
    assert visible_devices({}) == ["0", "1", "10"]
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "3,GPU-ab"}) == ["3", "GPU-ab"]
    assert visible_devices({"CUDA_VISIBLE_DEVICES": ""}) == []
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "-1"}) == []
    monkeypatch.setattr(os, "listdir", lambda path: ["null"])
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "0"}) == []


def test_address():
    assert address_towards("127.0.0.1") == "127.0.0.1"
    assert address_towards()
    assert address_towards("no.such.host.invalid") == os.uname().nodename


def test_sweep_finds_only_the_jobs_processes():
    env = dict(os.environ)
    code = "import time; print('up', flush=True); time.sleep(60)"
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=env | {"DTRAIN_JOB_ID": job}, stdout=subprocess.PIPE)
        for job in ("sweep-test-1", "sweep-test-1", "sweep-test-10")
    ]
    try:
        for process in started:
            process.stdout.readline()
        assert sorted(processes_with("DTRAIN_JOB_ID", "sweep-test-1")) == sorted(one.pid for one in started[:2])
        assert sorted(kill_processes_with("DTRAIN_JOB_ID", "sweep-test-1")) == sorted(one.pid for one in started[:2])
        assert [process.wait(5) for process in started[:2]] == [-9, -9]
        assert started[2].poll() is None
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()
