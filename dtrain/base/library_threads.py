"""How many threads libraries of this process compute with, and that BLAS does so on the threads of our kernels."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any, Protocol

from dtrain.base.cores import THREAD_VARIABLES, usable_cores

# Libraries that compute with threads of their own, by a part of their file's name: the variable that they read, and
# what sets how many.
_SETTERS = {
    "openblas": (
        "OPENBLAS_NUM_THREADS",
        (
            "openblas_set_num_threads",
            "openblas_set_num_threads64_",
            "scipy_openblas_set_num_threads",
            "scipy_openblas_set_num_threads64_",
        ),
    ),
    "mkl_rt": ("MKL_NUM_THREADS", ("MKL_Set_Num_Threads",)),
    "libblis": ("OMP_NUM_THREADS", ("bli_thread_set_num_threads",)),
    "libgomp": ("OMP_NUM_THREADS", ("omp_set_num_threads",)),
    "libiomp5": ("OMP_NUM_THREADS", ("omp_set_num_threads",)),
    "libomp": ("OMP_NUM_THREADS", ("omp_set_num_threads",)),
}


class KernelThreads(Protocol):
    """The threads of our kernels, and what OpenBLAS needs to compute on them."""

    def set_num_threads(self, count: int) -> None:
        """From now on a call may take so many."""
        ...

    def blas_jobs(self) -> int:
        """The address of what runs OpenBLAS's jobs."""
        ...

    def set_blas_numbers(self, count: int) -> None:
        """How many numbers OpenBLAS has for threads."""
        ...


_of_kernels: list[KernelThreads] = []  # one, once the compiled kernels are loaded


def add_kernels(threads: KernelThreads) -> None:
    """Let kernels that have just been loaded compute on `num_threads` threads, and BLAS on theirs."""
    _of_kernels[:] = [threads]
    threads.set_num_threads(num_threads())
    share_threads_with_blas()


def num_threads() -> int:
    """How many threads compute on the CPU: OMP_NUM_THREADS, else the cores that this process may use."""
    return _count_in("OMP_NUM_THREADS") or usable_cores()


def _count_in(variable: str) -> int | None:
    """The number that an environment variable holds; None for none, 0 and what is no number."""
    given = os.environ.get(variable, "")
    return int(given) or None if given.isdecimal() else None


def set_num_threads(count: int, but_for: Collection[str] = ()) -> list[str]:
    """Let libraries compute with `count` threads: those loaded already by a call, later ones and children by variables.

    Libraries that read one of the variables `but_for` keep what they have. Returns the names of the functions called.
    """
    os.environ.update(dict.fromkeys([name for name in THREAD_VARIABLES if name not in but_for], str(count)))
    called = []
    for path in _loaded_libraries():
        variable, names = next((found for part, found in _SETTERS.items() if part in Path(path).name), ("", ()))
        if variable in ("", *but_for):
            continue
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD)
        for name in names:
            function = getattr(library, name, None)
            if function is not None:
                function(ctypes.c_int(count))
                called.append(name)
    for threads in _of_kernels:
        threads.set_num_threads(num_threads())
    share_threads_with_blas()
    return called


def share_threads_with_blas() -> bool:
    """Let OpenBLAS compute on the threads of our kernels, and on no more than those; whether it does.

    Its own would look for work on the cores that ours need. One that is too old to be handed threads keeps its own, and
    so does one that has numbers for less than twice as many.
    """
    if not _of_kernels:
        return False
    shares = [
        hand_over(ctypes.CDLL(path, mode=os.RTLD_NOLOAD), _of_kernels[0], prefix, suffix)
        for path in _loaded_libraries()
        if "openblas" in Path(path).name
        for prefix in ("scipy_", "")
        for suffix in ("64_", "")
    ]
    return any(shares)


def hand_over(library: Any, kernels: KernelThreads, prefix: str, suffix: str) -> bool:
    """Let this OpenBLAS, by the prefix and suffix of its names, compute on threads of the kernels; whether it does."""
    try:
        set_callback, config, count, set_count = (
            getattr(library, f"{prefix}openblas_{name}{suffix}")
            for name in ("set_threads_callback_function", "get_config", "get_num_threads", "set_num_threads")
        )
    except AttributeError:
        return False  # other names, or an older one
    set_callback.restype, config.restype = None, ctypes.c_char_p
    if "OPENBLAS_NUM_THREADS" not in os.environ and count() > num_threads():
        set_count(ctypes.c_int(num_threads()))  # it counts cores that a quota does not give
    numbers = re.search(r"MAX_THREADS=(\d+)", config().decode())
    if numbers is None or count() == 1 or 2 * count() > int(numbers[1]):
        set_callback(None)
        return False
    kernels.set_blas_numbers(int(numbers[1]))
    set_callback(ctypes.c_void_p(kernels.blas_jobs()))
    return True


def _loaded_libraries() -> list[str]:
    """Files that are mapped into this process as shared libraries."""
    with open("/proc/self/maps") as lines:
        paths = {line.split(maxsplit=5)[-1].rstrip("\n") for line in lines if ".so" in line}
    return sorted(path for path in paths if path.startswith("/") and os.path.exists(path))
