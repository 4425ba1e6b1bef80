"""Starting MPI and waiting in it: the only place that imports mpi4py.

MPI starts here, with full thread support, and not when somebody imports dtrain. Waiting polls, so that a peer that
never comes ends in an error instead of a hang, and backs off, so that a thread that waits leaves its core to one that
computes.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any

from dtrain.base.errors import LaunchError, exit_code_of, expected
from dtrain.base.exception_text import frames_of_user
from dtrain.base.rank_info import ENVIRONMENTS, RankInfo

if TYPE_CHECKING:
    from mpi4py import MPI

# Polls without giving up the core; then the core is offered; after a while the thread sleeps between polls.
SPINS = 200
YIELD_SECONDS = 0.002
SLEEP_SECONDS = 50e-6


def start_mpi(info: RankInfo) -> MPI.Intracomm:
    """Initialize MPI and return a world of our own that agrees with `info`.

    Raises:
        LaunchError: mpi4py is missing, belongs to another MPI than the launcher, or has no thread support.
    """
    os.environ.setdefault("OMPI_MCA_osc", "^ucx")  # its probe prints a warning and shared windows do not use it
    os.environ.setdefault("UCX_DEBUG_SIGNO", "0")  # it takes SIGHUP for its debugging, which should end a rank
    try:
        import mpi4py
    except ModuleNotFoundError as error:
        raise LaunchError(
            expected("collectives.init", "mpi4py", "none", "install it with `pip install 'dtrain[openmpi]'`")
        ) from error
    mpi4py.rc.thread_level = "multiple"
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise LaunchError(
            expected(
                "collectives.init",
                "an MPI library that mpi4py can load",
                str(error),
                "install one with `pip install 'dtrain[openmpi]'`",
            )
        ) from error
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise LaunchError(
            expected(
                "collectives.init",
                "an MPI with MPI_THREAD_MULTIPLE",
                f"thread level {MPI.Query_thread()}",
                "call dtrain.collectives.init() before anything else imports mpi4py.MPI",
            )
        )
    _check_world(MPI.COMM_WORLD, info, MPI.Get_library_version().split(",")[0])
    world: MPI.Intracomm = MPI.COMM_WORLD.Dup()
    return world


def _check_world(world: MPI.Intracomm, info: RankInfo, library: str) -> None:
    if (world.size, world.rank) == (info.size, info.rank):
        return
    advice = (
        "start the ranks with the mpirun of the MPI that mpi4py was built for (`dtrain doctor` shows both), "
        "for example `dtrain run -np 2 script.py`"
    )
    if info.source == "slurm":
        advice += ", or with `srun --mpi=pmix` where Slurm has that (`srun --mpi=list`)"
    elif "DTRAIN_JOB_ID" in os.environ and not _is_started_by_mpi():
        advice = "`dtrain run --launcher local` starts no MPI: leave the launcher to it, or say `--launcher mpirun`"
    raise LaunchError(
        expected(
            "collectives.init",
            f"MPI to say rank {info.rank} of {info.size}, as the environment does ({info.source})",
            f"rank {world.rank} of {world.size} from {library}",
            advice,
        )
    )


def _is_started_by_mpi() -> bool:
    """Whether what starts MPI's ranks has told this process which one it is."""
    return any(name in os.environ for row in ENVIRONMENTS if row.starter or row.source == "pmix" for name in row.rank)


def wait_until(is_done: Callable[[], bool], timeout: float, progress: Callable[[], Any] | None = None) -> bool:
    """Poll until `is_done()`; return False if that takes longer than `timeout` seconds.

    `progress` is called now and then, once the wait is no longer short, to keep MPI moving.
    """
    for _ in range(SPINS):
        if is_done():
            return True
    begin = time.monotonic()
    while not is_done():
        waited = time.monotonic() - begin
        if waited > timeout:
            return is_done()
        if progress is not None:
            progress()
        time.sleep(0 if waited < YIELD_SECONDS else SLEEP_SECONDS)
        if waited < YIELD_SECONDS:
            os.sched_yield()
    return True


def abort_on_exception(world: MPI.Intracomm) -> None:
    """Make an uncaught exception end the job: without it, the other ranks would wait for this one for ever."""
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        # A stream that is closed or None must not keep the others waiting.
        with contextlib.suppress(Exception):
            frames = frames_of_user(error, trace)
            previous(kind, error.with_traceback(frames), frames)
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        world.Abort(exit_code_of(error))

    sys.excepthook = hook


@cache
def memory_fence() -> Callable[[], None]:
    """What orders this process's reads and writes of memory that others share; the window it needs lives for good."""
    from mpi4py import MPI

    window = MPI.Win.Allocate_shared(64, 1, MPI.INFO_NULL, MPI.COMM_SELF)
    window.Lock_all(MPI.MODE_NOCHECK)
    fence: Callable[[], None] = window.Sync
    return fence
