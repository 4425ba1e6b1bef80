"""Facts of this machine that a launcher needs: cores, devices, memory trouble. Read from the system, never guessed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
from collections.abc import Mapping
from pathlib import Path


def usable_cores() -> int:
    """Cores this process may run on: the affinity mask, cut by the cgroup's CPU quota."""
    return max(1, min(len(os.sched_getaffinity(0)), cpu_quota() or 1 << 20))


def cpu_quota() -> int | None:
    """Whole cores the cgroup's quota allows (rounded up), None without one."""
    for path in _cgroup_folders():
        with contextlib.suppress(OSError, ValueError):
            quota, period = (path / "cpu.max").read_text().split()
            if quota != "max":
                return -(-int(quota) // int(period))
    return None


def oom_kills() -> int:
    """How often the kernel killed for memory in this process's cgroup, 0 where that cannot be read."""
    for path in _cgroup_folders():
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


def address_towards(host: str = "") -> str:
    """This machine's address on the way to a host; without one, to anywhere. No packet is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host or "192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return os.uname().nodename


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


def _cgroup_folders() -> list[Path]:
    """This process's cgroup folders, unified hierarchy first, then version 1's memory controller."""
    root = Path("/sys/fs/cgroup")
    folders = []
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                folders += [root / path.lstrip("/"), root]
            elif "memory" in controllers.split(","):
                folders += [root / "memory" / path.lstrip("/"), root / "memory"]
    return [folder for folder in folders if folder.is_dir()]
