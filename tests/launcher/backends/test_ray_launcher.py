"""`--launcher ray`: real ranks on a local Ray, and its errors."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from types import ModuleType

import pytest

from dtrain.base.errors import LaunchError
from dtrain.launcher.backends.ray_cluster.cluster import LOCAL, import_ray, merged_hosts, node_problem, ray_address
from dtrain.launcher.command.flags import parse_run

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed (extra `ray`)")

MEET = """
import os, sys
from mpi4py import MPI
world = MPI.COMM_WORLD
assert world.size == int(os.environ["WORLD_SIZE"]) and world.rank == int(os.environ["RANK"])
print("sum", world.allreduce(world.rank + 1), os.environ["OMP_NUM_THREADS"] >= "1", flush=True)
if len(sys.argv) > 1 and world.rank == 1:
    raise ValueError("bad data")
"""


@needs_ray
@pytest.mark.distributed
@pytest.mark.slow
def test_ranks_of_a_local_ray_meet_in_mpi(run):
    ended = run("--launcher", "ray", "-np", "2", run.script(MEET))
    assert ended.code == 0, ended.err
    assert sorted(ended.out.splitlines()) == ["[0] sum 3 True", "[1] sum 3 True"]
    assert ended.err.startswith("dtrain: 2 ranks by ray (asked for; a local Ray, started for this job; Open MPI")


@needs_ray
@pytest.mark.cluster
@pytest.mark.slow
def test_a_failure_under_ray_keeps_its_code_and_traceback(run):
    ended = run("--launcher", "ray", "-np", "2", "--quiet", run.script(MEET), "fail")
    assert ended.code == 1
    assert "dtrain: rank 1 of 2 failed: ValueError: bad data (exit code 1)" in ended.err
    assert "its traceback:" in ended.err


@needs_ray
@pytest.mark.distributed
def test_a_cluster_that_is_not_there(run):
    ended = run("--launcher", "ray", "--address", "127.0.0.1:1", "-np", "2", run.script(MEET))
    assert ended.code == 125
    assert "expected a Ray cluster at 127.0.0.1:1, got" in ended.err
    assert "ray start --head" in ended.err


@needs_ray
@pytest.mark.distributed
def test_plan_only_starts_no_ray(run):
    ended = run("--launcher", "ray", "--plan-only", "--address", "10.0.0.1:6379", "-np", "2", run.script(MEET))
    assert ended.code == 0
    assert "--host '<nodes chosen by Ray>' --prtemca plm_ssh_agent" in ended.out
    assert ended.seconds < 20


@pytest.mark.parametrize(
    ("address", "has_file", "given", "mode"),
    [
        ("10.0.0.1:6379", True, {}, "token"),
        ("10.0.0.1:6379", False, {}, None),
        ("10.0.0.1:6379", False, {"RAY_AUTH_TOKEN": "a"}, "token"),
        ("10.0.0.1:6379", True, {"RAY_AUTH_MODE": "disabled"}, "disabled"),
        (LOCAL, True, {}, None),
    ],
)
def test_a_cluster_is_joined_by_the_token_that_is_here(monkeypatch, tmp_path, address, has_file, given, mode):
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path), **given}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    if has_file:
        (tmp_path / ".ray").mkdir()
        (tmp_path / ".ray" / "auth_token").write_text("a")
    import_ray(address)
    assert os.environ.get("RAY_AUTH_MODE") == mode
    assert ("RAY_AUTH_MODE as the cluster has it" in node_problem("dead")) == (mode is not None)


def test_address(monkeypatch, tmp_path):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr("dtrain.launcher.backends.ray_cluster.cluster.CURRENT_CLUSTER", tmp_path / "current")
    spec = parse_run(["--launcher", "ray", "train.py"], {})
    assert ray_address(spec) == LOCAL
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "current").write_text(address + "\n")
        assert ray_address(spec) == address
    assert ray_address(spec) == LOCAL  # the note is there, the cluster is not
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.2:6379")
    assert ray_address(spec) == "10.0.0.2:6379"
    assert ray_address(parse_run(["--launcher", "ray", "--address", "a:1", "train.py"], {})) == "a:1"


@pytest.mark.parametrize(
    ("said", "node"),
    [
        ("The actor died (pid=7, ip=10.0.0.2)\n  trace\nModuleNotFoundError: No module named 'dtrain'\n", "10.0.0.2"),
        ("ray::IDLE\nModuleNotFoundError: No module named 'dtrain'", "a node"),
    ],
)
def test_a_node_without_dtrain_is_said(said, node):
    class Ray:
        class exceptions:
            RayError = RuntimeError

        @staticmethod
        def get(_):
            raise RuntimeError(said)

    with pytest.raises(LaunchError) as caught:
        merged_hosts(Ray, [], [])
    assert f"expected every node to run dtrain, got {node}: ModuleNotFoundError: No module named 'dtrain'" in str(
        caught.value
    )
