"""Where the ranks of a shared window meet: each counts its arrivals in a flag, and looks at the flags of the others.

    flag of a rank, words of 8 bytes:  | arrivals | state |     state: 0 while it takes part, see `State`

`ArrivalMeeting` is the plain form, and `_native.Meeting` the compiled one, which looks faster and without the GIL. Both
look for a fraction of a millisecond only: signals, timeouts and MPI's progress are the caller's between two looks.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from enum import IntEnum
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from dtrain.base.errors import expected
from dtrain.collectives.memory.shared_window import NO_FRAME
from dtrain.collectives.programs.rank_order import Array
from dtrain.collectives.transports.mpi_start import SLEEP_SECONDS, SPINS, memory_fence
from dtrain.kernels.build_digest import expect_current

ARRIVALS, STATE = 0, 1
PATIENCE_SECONDS = 200e-6
NATIVE_SOURCES = ("native/*.cpp", "native/*.h")


class Outcome(IntEnum):
    """What has become of a meeting."""

    MET = 0  # everybody came
    DIFFERS = 1  # everybody came, with different digests
    PENDING = 2  # somebody has not come yet
    GONE = 3  # somebody has not come, and never will


class Meeting(Protocol):
    """The flags of a window, and the digests in its frames. Results are numbers of `Outcome`."""

    def meet(self, number: int, frame: int, /) -> int:
        """Arrive for the `number`-th time, and look for the others; compare digests of `frame` 0 or 1, or none."""

    def wait(self, number: int, frame: int, sleeps: bool, /) -> int:
        """Look for the others a little longer: offer the core between looks, or sleep."""


class ArrivalMeeting:
    """A meeting in Python: what the compiled one is compared with, and what serves where it is not built."""

    def __init__(self, regions: Sequence[Array], rank: int, first_frame: int, frame_bytes: int) -> None:
        """`regions` begin with a flag, and have two frames from byte `first_frame` on, each beginning with a digest."""
        self._flags = [memoryview(region.data)[:16].cast("Q") for region in regions]
        places = (first_frame, first_frame + frame_bytes)
        self._digests = [[memoryview(region.data)[at : at + 8].cast("Q") for region in regions] for at in places]
        self._rank = rank
        self._fence = memory_fence()

    def meet(self, number: int, frame: int, /) -> int:
        self._fence()  # data before flag
        self._flags[self._rank][ARRIVALS] = number
        for _ in range(SPINS):
            outcome = self._look(number, frame)
            if outcome is not Outcome.PENDING:
                break
        return outcome

    def wait(self, number: int, frame: int, sleeps: bool, /) -> int:
        end = time.monotonic() + PATIENCE_SECONDS
        while True:
            outcome = self._look(number, frame)
            if outcome is not Outcome.PENDING or time.monotonic() > end:
                return outcome
            time.sleep(SLEEP_SECONDS if sleeps else 0)
            os.sched_yield()

    def _look(self, number: int, frame: int) -> Outcome:
        late = [flag for flag in self._flags if flag[ARRIVALS] < number]
        if late:
            # Whoever will not come has told so before it took its arrival back, if it did.
            is_gone = any(flag[STATE] and flag[ARRIVALS] < number for flag in late)
            return Outcome.GONE if is_gone else Outcome.PENDING
        self._fence()
        if frame == NO_FRAME:
            return Outcome.MET
        digests = self._digests[frame]
        own = digests[self._rank][0]
        return Outcome.MET if all(digest[0] == own for digest in digests) else Outcome.DIFFERS


@cache
def native_meeting() -> type[Any] | None:
    """The compiled `Meeting`; None, with a warning, where it is not built.

    Raises:
        ImportError: it was compiled from other sources.
    """
    try:
        import dtrain.collectives._native as _native
    except ModuleNotFoundError:
        if find_spec("dtrain.kernels._cpu") is not None:  # else the kernels warn of both
            wanted = "the compiled module _native, made with that of the kernels"
            advice = "ranks wait for one another in Python, which takes longer; run make install, or pip install ."
            warnings.warn(expected("dtrain.collectives", wanted, "none", advice), stacklevel=2)
        return None
    expect_current(_native, Path(__file__).parents[1], NATIVE_SOURCES)
    return _native.Meeting


def meeting_of(regions: Sequence[Array], rank: int, first_frame: int, frame_bytes: int) -> Meeting:
    """The fastest meeting there is; arguments as of `ArrivalMeeting`."""
    meeting: Meeting = (native_meeting() or ArrivalMeeting)(regions, rank, first_frame, frame_bytes)
    return meeting
