"""What is said when the second of two hosts is lost, with its ranks and its name, or is not set up."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest
from helpers.hosts import ip

import dtrain
from dtrain.control.connection import VANISHED_AFTER

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.distributed]

WORK = """
import sys, time
import numpy as np
import dtrain.collectives as dist

world = dist.init(timeout=60)
world.all_reduce(np.full(3, 1.0))
print("works", world.rank, flush=True)
while "print" in sys.argv:
    print(world.rank, "." * 1000, flush=True)
    time.sleep(0.02)
while "talk" in sys.argv:
    world.all_reduce(np.full(3, 1.0))
    time.sleep(0.01)
time.sleep(60)
"""


@pytest.fixture
def job(run, site):
    """Start three ranks on two hosts; `before` is what the agent does first."""

    def start(*flags, before="", arguments=(), script=WORK):
        agent = site.write_agent(run.folder / "agent", before)
        where = ",".join(f"{address}:{count}" for address, count in zip(site.hosts, (1, 2)))
        mpi_args = f"--mpi-args=--prtemca plm_ssh_agent {agent} {site.mpi_args}"
        return run.start("-H", where, "--quiet", mpi_args, *flags, run.script(script), *arguments)

    return start


def until_all_work(process):
    seen = 0
    while seen < 3:
        seen += "works" in process.stdout.readline()


def processes(host, word):
    """Ids of the processes in a host's network whose command line has this word."""
    network = os.stat(f"/run/netns/{host}").st_ino
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            inside = os.stat(folder / "ns/net").st_ino == network
            if inside and word in (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize(
    ("word", "arguments"),
    [("/prted ", ()), ("/prted ", ("talk",)), ("-c hostname", ())],
    ids=["daemon", "daemon-while-talking", "agent"],
)
def test_what_holds_a_host_is_killed(run, site, job, word, arguments):
    """MPI's daemon on the second host, and what took the place of ssh, whose command line has the daemon's in it."""
    second = list(site.hosts.values())[1]
    process = job(arguments=arguments)
    until_all_work(process)
    begin = time.monotonic()
    for pid in processes(second, word):
        os.kill(pid, signal.SIGKILL)
    ended = run.finish(process, begin)
    assert ended.code not in (0, None)
    # Though ranks there may end by that before mpirun says what is behind it.
    assert f"dtrain: ranks 1, 2 of 3 lost: mpirun's daemon on {second} is gone, or the way to it" in ended.err
    assert ended.seconds < 5
    assert processes(second, "rank_main.py") == []


def cut_off(host):
    ip("-n", host, "link", "set", "eth0", "down")


def reconnect(host):
    ip("-n", host, "link", "set", "eth0", "up")


def test_the_network_of_a_host_goes_away(run, site, job):
    """Noticed on both sides, by a job that has something on its way and by one that has not."""
    second = list(site.hosts.values())[1]
    jobs = [job("--timeout", "50", arguments=arguments) for arguments in ((), ("print",))]
    for process in jobs:
        until_all_work(process)
    cut_off(second)
    try:
        begin = time.monotonic()
        for process in jobs:
            ended = run.finish(process, begin)
            assert ended.code != 0
            assert re.search("rank [12] of 3 failed: killed by SIGKILL .*, or its host was lost", ended.err), ended.err
            assert f"  host {second}, pid " in ended.err
            assert 10 < ended.seconds < 35
        while processes(second, "rank_main.py"):
            assert time.monotonic() < begin + 45, "the ranks there were told by nobody"
            time.sleep(0.2)
    finally:
        reconnect(second)


PAUSE = """
import os, sys, time
import dtrain.collectives as dist

world = dist.init(timeout=60)
print("works", world.rank, flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.05)
world.barrier()
"""


def test_a_pause_ends_no_job(run, site, job):
    """Processes of a host that stand still for longer than its network may, then its network for a shorter while."""
    second = list(site.hosts.values())[1]
    go = run.folder / "go"
    process = job(script=PAUSE, arguments=(str(go),))
    until_all_work(process)
    stopped = processes(second, "rank_main.py")
    assert len(stopped) == 4, "two ranks and their supervisors"
    for number, seconds in ((signal.SIGSTOP, VANISHED_AFTER + 3), (signal.SIGCONT, 0)):
        for pid in stopped:
            os.kill(pid, number)
        time.sleep(seconds)
    assert process.poll() is None
    cut_off(second)
    time.sleep(VANISHED_AFTER / 3)
    reconnect(second)
    go.touch()
    ended = run.finish(process)
    assert ended.code == 0, ended.err


HIDE = """case "$host" in *.2)
  exec nsenter --net=/run/netns/{host} unshare --uts --mount sh -c "export PYTHONDONTWRITEBYTECODE=1; hostname {host}; \
    mount --bind {instead} {place}; $*" ;;
esac"""


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("dtrain", "dtrain: could not start"),
        ("environment", "dtrain: could not start"),
        ("version", "expected version"),
    ],
)
def test_a_host_that_is_not_set_up(run, site, job, what, words):
    """The second host sees an empty folder where the first has the package or the environment, or another version."""
    package = Path(dtrain.__file__).parent
    place = {
        "dtrain": package.joinpath("launcher").resolve(),
        "environment": Path(sys.prefix) / "bin",
        "version": package / "base" / "version.py",
    }[what]
    instead = run.folder / "instead"
    if place.is_dir():
        instead.mkdir()
    else:
        instead.write_text('VERSION = "9.9.9"\n')
    second = list(site.hosts.values())[1]
    ended = run.finish(job(before=HIDE.format(host=second, instead=instead, place=place)))
    assert ended.code == 125
    assert words in ended.err
    address = list(site.hosts)[1]
    assert f"{address} came up" in ended.err or f"got 9.9.9 on {second}" in ended.err
    assert "the same environment at the same path" in ended.err
    assert ended.seconds < 20
    assert "works" not in ended.out
