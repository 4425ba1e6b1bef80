"""Facts of the machine, read on this one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from dtrain.base.errors import LaunchError
from dtrain.launcher.plan.machine import (
    kill_processes_with,
    network_address,
    oom_kills,
    processes_with,
    visible_devices,
)


def test_memory():
    assert oom_kills() >= 0


def test_devices(monkeypatch):
    monkeypatch.setattr(os, "listdir", lambda path: ["null", "nvidia1", "nvidia0", "nvidiactl", "nvidia10"])
    assert visible_devices({}) == ["0", "1", "10"]
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "3,GPU-ab"}) == ["3", "GPU-ab"]
    assert visible_devices({"CUDA_VISIBLE_DEVICES": ""}) == []
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "-1"}) == []
    monkeypatch.setattr(os, "listdir", lambda path: ["null"])
    assert visible_devices({"CUDA_VISIBLE_DEVICES": "0"}) == []


def test_names_of_hosts_as_ssh_reads_them(tmp_path, monkeypatch):
    """A stand-in for ssh answers `-G` as the real one does, which reads the user's aliases."""
    (tmp_path / "ssh").write_text(
        '#!/bin/sh\ncase "$2" in node*|me@node*) echo "hostname 127.0.0.9";; *) exit 1;; esac\n'
    )
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert network_address("node1") == network_address("me@node1") == "127.0.0.9"
    assert network_address("me@127.0.0.1") == network_address("127.0.0.1") == "127.0.0.1"
    assert network_address("no.such.host.invalid") == network_address("") == ""


def test_a_host_with_ipv6_only_is_refused(monkeypatch):
    def resolve(name, port, family, *_):
        if family == socket.AF_INET:
            raise socket.gaierror("no IPv4")
        return [(family, 0, 0, "", ("fd00::7", 0, 0, 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(LaunchError, match="expected an IPv4 address of six, got fd00::7 only"):
        network_address("me@six")


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
