"""Hosts on one machine: network namespaces on a bridge, each with an address and a host name of its own."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

# What the kernel answers where namespaces are not to be had; anything else is a failure.
_REFUSALS = ("not permitted", "Permission denied", "not supported", "Unknown device type")
_NAME = re.compile(r"dt(\d+)-\w+")  # the process that made it, and which one it is


@dataclass(frozen=True)
class Site:
    """`hosts` is the name of each address; `network` is what MPI is told to use."""

    subnet: str
    hosts: dict[str, str]

    @property
    def network(self) -> str:
        return f"{self.subnet}.0/24"

    @property
    def mpi_args(self) -> str:
        """MPI must take this network, and nothing that reaches around it."""
        only = self.network
        return f"--prtemca prte_if_include {only} --mca btl tcp,self --mca pml ob1 --mca btl_tcp_if_include {only}"

    def write_agent(self, path: Path, before: str = "") -> Path:
        """What mpirun calls instead of ssh: enter the host and run the command there, after the lines of `before`."""
        cases = "\n".join(
            f'{address}) exec {" ".join(inside(name)[:4])} sh -c "hostname {name}; $*" ;;'
            for address, name in self.hosts.items()
        )
        path.write_text(f'#!/bin/sh\nhost=$1; shift\n{before}\ncase "$host" in\n{cases}\nesac\n')
        path.chmod(0o755)
        return path


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)


def inside(name: str) -> list[str]:
    """A command's beginning that enters a host: its network, and its own host name.

    `ip netns exec` would hide the cgroups, which Slurm wants to see.
    """
    return ["nsenter", f"--net=/run/netns/{name}", "unshare", "--uts", "sh", "-c", f'hostname {name}; exec "$@"', "sh"]


@contextlib.contextmanager
def short_folder(prefix: str) -> Iterator[Path]:
    """A folder for the block, for those whose Unix sockets lie below it: their paths may have 107 characters."""
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def end_processes(processes: Iterable[subprocess.Popen[Any]], patience: float = 20) -> None:
    """Ask all to end, then wait for each; who takes longer than `patience` seconds is killed."""
    processes = list(processes)
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


_sites: list[Site] = []  # what this process has made and not removed


@contextlib.contextmanager
def make_hosts(count: int) -> Iterator[Site]:
    """So many hosts inside of a `with` block; a skip with its reason where they cannot be made."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nsenter", "unshare", "hostname"))):
        pytest.skip("needs root, ip, nsenter, unshare and hostname to make several hosts")
    # Before the block that tidies up: it would take the hosts of the other one, which have the same names.
    assert not _sites, "expected one network of hosts a process at a time, got another while one is there"
    own = os.getpid()
    _remove_those_of_the_dead()
    subnet = f"10.78.{own % 250 + 1}"
    site = Site(subnet, {f"{subnet}.{number}": f"dt{own}-h{number}" for number in range(1, count + 1)})
    _sites.append(site)
    try:
        try:
            _add(site, f"dt{own}-br")
        except subprocess.CalledProcessError as error:
            reason = error.stderr.decode().strip()
            if not any(word in reason for word in _REFUSALS):
                raise AssertionError(f"ip {' '.join(error.cmd[1:])}: {reason}") from error
            pytest.skip(f"cannot make network namespaces here: {reason}")
        yield site
    finally:
        _sites.remove(site)
        _remove(own)


def _add(site: Site, bridge: str) -> None:
    ip("link", "add", bridge, "type", "bridge")
    ip("addr", "add", f"{site.subnet}.254/24", "dev", bridge)
    ip("link", "set", bridge, "up")
    for address, name in site.hosts.items():
        ip("netns", "add", name)
        port = name.replace("-h", "-v")
        ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", port, "master", bridge, "up")
        ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        ip("-n", name, "link", "set", "lo", "up")


def _remove(owner: int) -> None:
    """Links too: a host whose last process is still ending keeps its own, under a name that the next host takes."""
    links = [["ip", "-o", "link", "show", "type", kind] for kind in ("veth", "bridge")]
    for command in (*links, ["ip", "netns", "list"]):
        listed = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout
        for name in {match[0] for match in _NAME.finditer(listed) if int(match[1]) == owner}:
            kind = ["netns"] if command[1] == "netns" else ["link"]
            subprocess.run(["ip", *kind, "del", name], capture_output=True, timeout=20)


def _remove_those_of_the_dead() -> None:
    """Of test runs that were killed."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, timeout=20).stdout
    for owner in {int(match[1]) for match in _NAME.finditer(listed)}:
        if not Path(f"/proc/{owner}").exists():
            _remove(owner)
