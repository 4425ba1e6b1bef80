"""Cores a process may use, and how ranks of one host share them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable
from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def usable_cores() -> int:
    """Cores this process may run on: the affinity mask, cut by the cgroup's CPU quota."""
    return max(1, min(len(os.sched_getaffinity(0)), cpu_quota() or 1 << 20))


def cpu_quota() -> int | None:
    """Whole cores the cgroup's quota allows (rounded up), None without one."""
    for path in cgroup_folders():
        with contextlib.suppress(OSError, ValueError):
            quota, period = (path / "cpu.max").read_text().split()
            if quota != "max":
                return -(-int(quota) // int(period))
    return None


def cgroup_folders() -> list[Path]:
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


def share_of_cores(mine: Collection[int], num_cores: int, masks: Iterable[Collection[int]]) -> int:
    """Threads for one rank: cores of its affinity mask, divided among the ranks of its host whose masks meet it.

    `masks` are those of all ranks of the host, this one's included; `num_cores` is what its cgroup allows.
    """
    own = set(mine)
    sharing = sum(1 for mask in masks if own & set(mask))
    return max(1, min(len(own), num_cores) // max(sharing, 1))
