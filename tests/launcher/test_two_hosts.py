"""Ranks on two hosts, which are network namespaces of this machine: mpirun over them, and a two-node Ray cluster."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys

import pytest
from helpers.hosts import inside, short_folder
from helpers.ray_nodes import head_flags, ray_node

from dtrain.launcher.plan.mpi_installation import ROOT_VARIABLES, find_mpirun

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.distributed]

MEET = """
import os, sys, time
from mpi4py import MPI
world = MPI.COMM_WORLD
assert world.size == int(os.environ["WORLD_SIZE"]) and world.rank == int(os.environ["RANK"])
print(os.uname().nodename, os.environ["GROUP_RANK"], os.environ["LOCAL_RANK"], os.environ["LOCAL_WORLD_SIZE"],
      os.environ["MASTER_ADDR"], world.allreduce(world.rank + 1), flush=True)
if len(sys.argv) > 1:
    if world.rank == 1:
        raise ValueError("bad data")
    time.sleep(60)
"""


@pytest.fixture
def hosts(site):
    return site.hosts


@pytest.fixture
def agent(site, tmp_path):
    return site.write_agent(tmp_path / "agent")


@pytest.fixture
def mpi_args(site, agent):
    return f"--mpi-args=--prtemca plm_ssh_agent {agent} {site.mpi_args}"


def test_mpirun_over_two_hosts(run, hosts, mpi_args):
    (address, first), (_, second) = hosts.items()
    where = ",".join(f"{address}:{count}" for address, count in zip(hosts, (2, 1)))
    ended = run("-H", where, mpi_args, run.script(MEET))
    assert ended.code == 0, ended.err
    assert sorted(ended.out.splitlines()) == [
        f"[0] {first} 0 0 2 {address} 6",
        f"[1] {first} 0 1 2 {address} 6",
        f"[2] {second} 1 0 1 {address} 6",
    ]
    failed = run("-H", where, "--quiet", mpi_args, run.script(MEET), "fail")
    assert failed.code == 1
    assert "dtrain: rank 1 of 3 failed: ValueError: bad data (exit code 1)" in failed.err
    assert f"host {first}" in failed.err
    assert failed.seconds < 15


COLLECTIVES = """
import time
import numpy as np
import dtrain.collectives as dist
from dtrain.base.errors import CollectiveError, PeerLostError

world = dist.init(timeout=20)
local = world.split(world.rank // 2)
print(world.name, local.name, world.all_reduce(np.full(3, 1.0))[0], local.all_reduce(np.full(3, 1.0))[0], flush=True)
late = world.split(0)
late.timeout = 0.5
if world.rank == 2:
    time.sleep(1.5)
for call in range(3):
    try:
        assert (late.all_reduce(np.full(50_000, call + 1.0)) == 3 * (call + 1)).all(), "a wrong sum"
    except CollectiveError as error:
        print("call", call, "broken" if "broken" in str(error) else "late", flush=True)
if world.rank == 2:
    raise SystemExit(0)
begin = time.monotonic()
for call in (world.barrier, lambda: world.recv(source=2)):
    try:
        call()
    except PeerLostError as error:
        print("named" if "rank 2 has ended its script" in str(error) else error, flush=True)
assert time.monotonic() - begin < 3
"""


def test_collectives_over_two_hosts(run, hosts, mpi_args):
    """Groups take their own hosts' way, a retry gives no wrong sum, and a rank that has ended elsewhere is named."""
    where = ",".join(f"{address}:{count}" for address, count in zip(hosts, (2, 1)))
    ended = run("-H", where, "--quiet", mpi_args, run.script(COLLECTIVES))
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert {f"[{rank}] mpi_messages mpi_shared 3.0 {size}.0" for rank, size in enumerate((2, 2, 1))} <= set(lines)
    for rank in (0, 1):
        assert [f"[{rank}] call {call} broken" for call in (1, 2)] == [
            line for line in lines if line.startswith(f"[{rank}] call") and not line.endswith("late")
        ][-2:]
        assert lines.count(f"[{rank}] named") == 2
    assert "[2] call 1 broken" in lines and "[2] call 2 broken" in lines


WITHOUT_LAUNCHER = """
import os, numpy
import dtrain.collectives as dist
from dtrain.control.client import control_client
from dtrain.base.cores import usable_cores

world = dist.init(timeout=20)
share = usable_cores() // dist.local_world_size() or 1
assert os.environ["OMP_NUM_THREADS"] == str(share), (os.environ["OMP_NUM_THREADS"], os.sched_getaffinity(0), share)
addresses = {part.rpartition(":")[0] for part in control_client().address.split(",")}
print(os.uname().nodename, *sorted(addresses), flush=True)
"""


def test_bare_mpirun_over_hosts_without_a_default_route(run, site, hosts, agent):
    """The ranks watch each other at the address that their own network shows, and divide the cores of their hosts."""
    first, second = hosts
    mpirun = [find_mpirun(), "--prtemca", "plm_ssh_agent", str(agent), *site.mpi_args.split(), "--bind-to", "none"]
    places = ["--host", f"{first}:2,{second}:1", "-x", "PATH"]
    command = [*inside(hosts[first]), *mpirun, *places, sys.executable, run.script(WITHOUT_LAUNCHER)]
    done = subprocess.run(
        command, cwd=run.folder, env=run.env | ROOT_VARIABLES, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        f"{name} {first}" for name in (hosts[first], hosts[first], hosts[second])
    ]


def test_a_user_before_the_host(run, hosts, agent, mpi_args):
    """The launcher's address is the one that the hosts' network shows, whatever ssh is told beside the name."""
    where = f"me@{next(iter(hosts))}:2"
    agent.write_text(agent.read_text().replace("host=$1", "host=${1#*@}"))
    ended = run("-H", where, mpi_args, run.script(MEET))
    assert ended.code == 0, ended.err
    assert len(ended.out.splitlines()) == 2


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra `ray`)")
def test_ray_over_two_hosts(run, site, hosts, tmp_path):
    head, worker = hosts
    env = run.env | {"RAY_AUTH_MODE": "disabled"}  # the hosts share one home folder, but a token is not what is tested
    with contextlib.ExitStack() as nodes:
        folder = nodes.enter_context(short_folder("ray-"))
        for address, flags in ((head, head_flags(6399, folder)), (worker, [f"--address={head}:6399"])):
            name = hosts[address]
            node = ray_node(tmp_path / f"{name}.log", ["--num-cpus=1", *flags], env, address, inside(name))
            nodes.enter_context(node)
        code = "import sys; from dtrain.cli import main; sys.exit(main(sys.argv[1:]))"
        flags = ["--launcher", "ray", "--address", f"{head}:6399", "-np", "2", f"--mpi-args={site.mpi_args}"]
        command = [*inside(hosts[head]), sys.executable, "-c", code, "run", *flags, run.script(MEET)]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        names = sorted(line.split()[1] for line in done.stdout.splitlines())
        assert names == sorted(hosts.values())
        assert all(line.endswith(" 3") for line in done.stdout.splitlines())


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra `ray`)")
def test_a_ray_cluster_of_one_node_runs_the_command_that_the_plan_shows(run, site, hosts, tmp_path):
    """mpirun's own host is named to it as any other is; nothing has to be started elsewhere."""
    [head, _] = hosts
    env = run.env | {"RAY_AUTH_MODE": "disabled"}
    with contextlib.ExitStack() as nodes:
        folder = nodes.enter_context(short_folder("ray-"))
        flags = ["--num-cpus=2", *head_flags(6398, folder)]
        nodes.enter_context(ray_node(tmp_path / "head.log", flags, env, head, inside(hosts[head])))
        flags = ["--launcher", "ray", "--address", f"{head}:6398", "-np", "2", f"--mpi-args={site.mpi_args}"]
        command = [*inside(hosts[head]), sys.executable, "-m", "dtrain.cli", "run", *flags, run.script(MEET)]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        assert [line.split()[1] for line in done.stdout.splitlines()] == [hosts[head]] * 2
        assert all(line.endswith(" 3") for line in done.stdout.splitlines())
