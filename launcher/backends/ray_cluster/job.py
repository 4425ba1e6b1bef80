"""A job on Ray's nodes while it runs: mpirun in the first node's actor, MPI's daemons in the others'."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from typing import Any

from dtrain.control.exit_codes import CONNECTION_LOST
from dtrain.control.messages import Ended, Message, Spawn
from dtrain.control.peer import Peer
from dtrain.control.server import ControlServer
from dtrain.launcher.backends.ray_cluster.agent import AGENT_ADDRESS_VARIABLE, AGENT_TOKEN_VARIABLE
from dtrain.launcher.backends.ray_cluster.cluster import RayHost


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
        if not all_local:
            address = self._ray.util.get_node_ip_address()
            self._server = ControlServer("0.0.0.0", advertised_hosts=[address], on_message=self._hear)
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
