"""Facts of this machine that a launcher needs: cores, devices, memory trouble. Read from the system, never guessed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping

from dtrain.base.cores import cgroup_folders
from dtrain.base.errors import LaunchError, expected
from dtrain.launcher.plan.spec import IPV4_ADVICE


def oom_kills() -> int:
    """How often the kernel killed for memory in this process's cgroup, 0 where that cannot be read."""
    for path in cgroup_folders():
        with contextlib.suppress(OSError):
            for name in ("memory.events", "memory.oom_control"):
                if (path / name).exists():
                    match = re.search(r"^oom_kill (\d+)", (path / name).read_text(), re.MULTILINE)
                    return int(match[1]) if match else 0
    return 0


def visible_devices(env: Mapping[str, str]) -> list[str]:
    """CUDA devices this process may use, as CUDA_VISIBLE_DEVICES names them or else by number."""
    named = env.get("CUDA_VISIBLE_DEVICES")
    present = sorted(
        int(name.removeprefix("nvidia")) for name in os.listdir("/dev") if re.fullmatch(r"nvidia\d+", name)
    )
    if not present:
        return []
    if named is None:
        return [str(number) for number in present]
    return [part for part in named.split(",") if part and part != "-1"]


def network_address(host: str) -> str:
    """The IPv4 address of a host as mpirun's ssh would reach it: `user@` and the user's ssh aliases are seen through.

    "" for none, and for a name that only ssh can reach. Raises `LaunchError` for one that has IPv6 addresses only.
    """
    name = host.rpartition("@")[2]
    if not name:
        return ""
    for candidate in dict.fromkeys((_name_for_ssh(host), name)):
        with contextlib.suppress(OSError):
            return str(socket.getaddrinfo(candidate, None, socket.AF_INET, socket.SOCK_STREAM)[0][4][0])
    with contextlib.suppress(OSError):
        address = socket.getaddrinfo(name, None, socket.AF_INET6)[0][4][0]
        raise LaunchError(expected("--hosts", f"an IPv4 address of {name}", f"{address} only", IPV4_ADVICE))
    return ""


def _name_for_ssh(host: str) -> str:
    """What the user's ssh configuration makes of a host; nothing is connected."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(["ssh", "-G", host], capture_output=True, text=True, timeout=5)
        found = re.search(r"^hostname (\S+)$", done.stdout, re.MULTILINE)
        if found:
            return found[1]
    return host.rpartition("@")[2]


def processes_with(variable: str, value: str) -> list[int]:
    """Processes of this machine whose environment holds `variable=value`, without this one."""
    wanted = f"{variable}={value}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as stream:
                if wanted in stream.read().split(b"\0"):
                    found.append(int(name))
    return found


def kill_processes_with(variable: str, value: str) -> list[int]:
    """Kill all of them, until none is left; returns those found first."""
    first = found = processes_with(variable, value)
    while found:
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        remaining = processes_with(variable, value)
        found = [pid for pid in remaining if pid not in found]
    return first


def reads_a_terminal() -> bool:
    """Whether this process's standard input is one."""
    return sys.stdin is not None and not sys.stdin.closed and sys.stdin.isatty()
