"""Which Ray cluster, its nodes, and the bundles reserved there: all that is asked of Ray before a job starts."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtrain.base.cores import usable_cores
from dtrain.base.errors import LaunchError, expected
from dtrain.control.connection import parse_address
from dtrain.launcher.backends.ray_cluster.node import NodeRunner
from dtrain.launcher.backends.ray_cluster.placement import RankBundle, RayNode
from dtrain.launcher.plan.spec import LaunchSpec

LOCAL = "local"
AUTH_MODE = "RAY_AUTH_MODE"  # token, disabled
CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")  # written by `ray start`
PROBE_TIMEOUT = 10.0


class RayHost:
    """One node of the job: its address, its ranks and the actor that runs commands there."""

    def __init__(self, address: str, count: int, runner: Any, devices: list[str]) -> None:
        self.address = address
        self.count = count
        self.runner = runner
        self.devices = devices


def ray_address(spec: LaunchSpec) -> str:
    """Which cluster: --address, RAY_ADDRESS, one that `ray start` left running here, else a local one of our own."""
    given = spec.address or os.environ.get("RAY_ADDRESS")
    if given:
        return given
    return _running_here() or LOCAL


def _running_here() -> str:
    """The cluster that `ray start` noted on this machine; a note that outlived its cluster counts for nothing."""
    try:
        address = CURRENT_CLUSTER.read_text().strip()
        socket.create_connection(parse_address(address), timeout=1.0).close()
    except (OSError, LaunchError):
        return ""
    return address


def import_ray(address: str) -> Any:
    """Ray, with its own habits turned down, to join the cluster at `address`."""
    # Ray would hide all GPUs from an actor that asks for none, and warns that it will stop doing so.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address != LOCAL and _has_token(os.environ):
        os.environ.setdefault(AUTH_MODE, "token")
    import ray

    return ray


def _has_token(environment: Mapping[str, str]) -> bool:
    """Whether `ray start` would ask its clients for a token here (Ray 2.60); `ray.init` alone shows none."""
    if environment.get("RAY_AUTH_TOKEN") or environment.get("RAY_AUTH_TOKEN_PATH"):
        return True
    return Path(environment.get("HOME", "/nonexistent"), ".ray", "auth_token").exists()


def join(ray: Any, address: str, size: int) -> None:
    """Join a cluster or start a local one. More ranks than cores is allowed on a local one, as with mpirun."""
    _probe(address)
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "error"}
    if address == LOCAL:
        options |= {"num_cpus": max(usable_cores(), size), "include_dashboard": False}
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise LaunchError(_no_cluster(address, (str(error).splitlines() or [""])[0])) from None


def _probe(address: str) -> None:
    """Knock first: Ray itself tries an address that nobody answers for a minute, and then aborts the process."""
    if address in (LOCAL, "auto"):
        return
    if "://" in address:
        raise LaunchError(_no_cluster(address, "a Ray client address, through which no node can be reached"))
    try:
        socket.create_connection(parse_address(address), timeout=PROBE_TIMEOUT).close()
    except OSError as error:
        raise LaunchError(_no_cluster(address, str(error))) from None


def _no_cluster(address: str, given: str) -> str:
    advice = f"start one with: ray start --head{_auth_advice()}"
    return expected("--launcher ray", f"a Ray cluster at {address}", given, advice)


def _auth_advice() -> str:
    """Ray's own texts do not say that the two sides differ in whether they know each other by a token."""
    mode = os.environ.get(AUTH_MODE)
    return f"; or give {AUTH_MODE} as the cluster has it (here: {mode})" if mode else ""


def cluster_nodes(ray: Any) -> list[RayNode]:
    """The living nodes and their totals."""
    return [
        RayNode(
            address=node["NodeManagerAddress"],
            num_cpus=int(node["Resources"].get("CPU", 0)),
            num_gpus=int(node["Resources"].get("GPU", 0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def reserve(ray: Any, bundles: list[RankBundle], timeout: float) -> list[Any]:
    """Reserve all bundles at once and put a runner in each. Raises `LaunchError` when the cluster stays busy."""
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = placement_group([bundle.resources for bundle in bundles], strategy="PACK")
    if not group.wait(timeout_seconds=timeout):
        free = {name: amount for name, amount in ray.available_resources().items() if name in ("CPU", "GPU")}
        wanted = f"{[bundle.resources for bundle in bundles]} free within {timeout:g} s"
        raise LaunchError(
            expected("Ray cluster", wanted, f"{free} free", "wait for other jobs, or raise --start-timeout")
        )
    remote = ray.remote(NodeRunner)
    return [
        remote.options(
            num_cpus=bundle.count,
            num_gpus=bundle.count if bundle.with_gpu else 0,
            # mpirun or the daemon blocks one thread; signals and questions need another.
            max_concurrency=4,
            scheduling_strategy=PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=number),
        ).remote()
        for number, bundle in enumerate(bundles)
    ]


def node_problem(said: str) -> str:
    """Words for an actor that a node could not run; Ray's text names the node and ends with the cause."""
    found = re.search(r"\bip[=:]\s*([\d.]+)", said)
    cause = ([line.strip() for line in said.splitlines() if line.strip()] or ["no reason"])[-1]
    return expected(
        "--launcher ray",
        "every node to run dtrain",
        f"{found[1] if found else 'a node'}: {cause}",
        "install the same environment at the same path on it" + _auth_advice(),
    )


def merged_hosts(ray: Any, runners: list[Any], bundles: list[RankBundle]) -> list[RayHost]:
    """One host a node: two bundles on one node share the first one's runner, as MPI has one daemon a node."""
    try:
        places = ray.get([runner.place.remote() for runner in runners])
    except ray.exceptions.RayError as error:
        raise LaunchError(node_problem(str(error))) from None
    hosts: dict[str, RayHost] = {}
    for (address, devices), runner, bundle in zip(places, runners, bundles):
        if address in hosts:
            hosts[address].count += bundle.count
            hosts[address].devices += devices
        else:
            hosts[address] = RayHost(address, bundle.count, runner, devices)
    return list(hosts.values())
