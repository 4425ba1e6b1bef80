"""Cores a process may use, how ranks of one host share them, and the thread counts of libraries that are loaded."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Collection, Iterable
from pathlib import Path

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

# Libraries that compute with threads of their own, by a part of their file's name, and what sets how many.
_SETTERS = {
    "openblas": (
        "openblas_set_num_threads",
        "openblas_set_num_threads64_",
        "scipy_openblas_set_num_threads",
        "scipy_openblas_set_num_threads64_",
    ),
    "mkl_rt": ("MKL_Set_Num_Threads",),
    "libblis": ("bli_thread_set_num_threads",),
    "libgomp": ("omp_set_num_threads",),
    "libiomp5": ("omp_set_num_threads",),
    "libomp": ("omp_set_num_threads",),
    "_cpu.": ("dtrain_set_num_threads",),  # our own kernels
}

# What hands OpenBLAS threads of somebody else to run its jobs on, and what runs them on those of our kernels.
_HAND_OVER = tuple(
    f"{prefix}openblas_set_threads_callback_function{suffix}" for prefix in ("scipy_", "") for suffix in ("64_", "")
)
_RUN_JOBS = "dtrain_run_blas_jobs"


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


def num_threads() -> int:
    """How many threads compute on the CPU: OMP_NUM_THREADS, else the cores that this process may use."""
    return _count_in("OMP_NUM_THREADS") or usable_cores()


def _count_in(variable: str) -> int | None:
    """The number that an environment variable holds; None for none, 0 and what is no number."""
    given = os.environ.get(variable, "")
    return int(given) or None if given.isdecimal() else None


def set_num_threads(count: int) -> list[str]:
    """Let libraries compute with `count` threads: those loaded already by a call, later ones and children by variables.

    Returns the names of the functions called.
    """
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(count)))
    called = []
    for path in _loaded_libraries():
        names = next((names for part, names in _SETTERS.items() if part in Path(path).name), ())
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD) if names else None
        for name in names:
            function = getattr(library, name, None)
            if function is not None:
                function(ctypes.c_int(count))
                called.append(name)
    if count > 1:
        share_threads_with_blas()
    return called


def share_threads_with_blas() -> bool:
    """Let OpenBLAS compute on the threads of our kernels; whether it does.

    Its own would look for work on the cores that ours need. One that is too old to be handed threads keeps its own.
    """
    paths = [path for path in _loaded_libraries() if "openblas" in Path(path).name or "_cpu." in Path(path).name]
    libraries = [ctypes.CDLL(path, mode=os.RTLD_NOLOAD) for path in paths]
    run_jobs = next((getattr(library, _RUN_JOBS) for library in libraries if hasattr(library, _RUN_JOBS)), None)
    setters = [getattr(library, name) for library in libraries for name in _HAND_OVER if hasattr(library, name)]
    if run_jobs is None:
        return False
    for setter in setters:
        setter.restype = None
        setter(ctypes.cast(run_jobs, ctypes.c_void_p))
    return bool(setters)


def _loaded_libraries() -> list[str]:
    """Files that are mapped into this process as shared libraries."""
    with open("/proc/self/maps") as lines:
        paths = {line.split(maxsplit=5)[-1].rstrip("\n") for line in lines if ".so" in line}
    return sorted(path for path in paths if path.startswith("/") and os.path.exists(path))
