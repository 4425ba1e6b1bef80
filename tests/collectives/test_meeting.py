"""Meetings in shared memory: the compiled form and the plain one do the same, also with each other."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from dtrain.collectives.memory.shared_window import (
    FLAG_BYTES,
    FRAME_BYTES,
    NO_FRAME,
    NOTE_BYTES,
    Absence,
    State,
    region_bytes,
)
from dtrain.collectives.transports import meeting as module
from dtrain.collectives.transports import mpi_window
from dtrain.collectives.transports.meeting import ARRIVALS, STATE, ArrivalMeeting, Outcome, native_meeting
from dtrain.collectives.transports.mpi_window import MpiWindow

FIRST_FRAME = FLAG_BYTES + NOTE_BYTES
Make = Callable[..., Any]

native = pytest.param(lambda *args: native_meeting()(*args), id="native")
FORMS = [pytest.param(ArrivalMeeting, id="plain")]
if native_meeting() is not None:
    FORMS.append(native)


@pytest.fixture(autouse=True)
def no_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks are threads here, between which the interpreter orders reads and writes."""
    for user in (module, mpi_window):
        monkeypatch.setattr(user, "memory_fence", lambda: lambda: None)


def regions_of(size: int) -> list[np.ndarray]:
    words = [np.zeros(region_bytes(64) // 8, np.uint64) for _ in range(size)]
    return [region.view(np.uint8) for region in words]


def flag(region: np.ndarray) -> np.ndarray:
    return region[:16].view(np.uint64)


def digest(region: np.ndarray, frame: int) -> np.ndarray:
    begin = FIRST_FRAME + frame * FRAME_BYTES
    return region[begin : begin + 8].view(np.uint64)


def made(make: Make, regions: list[np.ndarray], rank: int) -> Any:
    return make(regions, rank, FIRST_FRAME, FRAME_BYTES)


def test_the_compiled_form_is_there() -> None:
    pytest.importorskip("dtrain.kernels._cpu", reason="the compiled modules are not built")
    assert native_meeting() is not None


@pytest.mark.parametrize("make", FORMS)
class TestOutcomes:
    def test_pending_until_everybody_has_come(self, make: Make) -> None:
        regions = regions_of(3)
        mine = made(make, regions, 1)
        assert mine.meet(1, NO_FRAME) == Outcome.PENDING
        assert [int(flag(region)[ARRIVALS]) for region in regions] == [0, 1, 0]
        flag(regions[0])[ARRIVALS] = 2  # ahead by one, as a rank that has met is
        assert mine.wait(1, NO_FRAME, False) == mine.wait(1, NO_FRAME, True) == Outcome.PENDING
        flag(regions[2])[ARRIVALS] = 1
        assert mine.wait(1, NO_FRAME, False) == mine.wait(1, NO_FRAME, True) == Outcome.MET
        assert mine.meet(2, NO_FRAME) == Outcome.PENDING

    @pytest.mark.parametrize("frame", [0, 1])
    def test_digests_of_the_frame_are_compared(self, make: Make, frame: int) -> None:
        regions = regions_of(3)
        for number, region in enumerate(regions):
            flag(region)[ARRIVALS] = 5
            digest(region, frame)[:] = 2**63 + 7
            digest(region, 1 - frame)[:] = number
        mine = made(make, regions, 2)
        assert mine.meet(5, frame) == Outcome.MET
        assert mine.meet(5, 1 - frame) == Outcome.DIFFERS
        assert mine.meet(5, NO_FRAME) == Outcome.MET
        digest(regions[0], frame)[:] += np.uint64(1)
        assert mine.wait(5, frame, False) == Outcome.DIFFERS

    @pytest.mark.parametrize("sleeps", [False, True])
    def test_gone_only_for_who_has_not_come(self, make: Make, sleeps: bool) -> None:
        regions = regions_of(3)
        mine = made(make, regions, 0)
        flag(regions[1])[:] = (1, State.LEFT)  # it came to this meeting, and left behind it
        assert mine.meet(1, NO_FRAME) == Outcome.PENDING
        flag(regions[2])[:] = (1, State.BROKEN)
        assert mine.wait(1, NO_FRAME, sleeps) == Outcome.MET
        assert mine.meet(2, NO_FRAME) == Outcome.GONE
        assert mine.wait(2, NO_FRAME, sleeps) == Outcome.GONE

    def test_looks_end_soon(self, make: Make) -> None:
        mine = made(make, regions_of(2), 0)
        looks = [lambda: mine.meet(1, 0), lambda: mine.wait(1, 0, False), lambda: mine.wait(1, 0, True)]
        for look in looks:
            fastest = min(timed(look) for _ in range(9))
            assert fastest < 0.05, "signals and timeouts are seen between two looks"

    def test_every_meeting_sees_what_was_written_before(self, make: Make) -> None:
        rounds, size = 200, 3
        regions, shown = regions_of(size), np.zeros((size, rounds), np.int64)
        wrong: list[Any] = []

        def rank_of(rank: int) -> None:
            mine = made(make, regions, rank)
            for number in range(1, rounds):
                shown[rank, number] = 1000 * rank + number
                digest(regions[rank], number % 2)[:] = number
                outcome = mine.meet(number, number % 2)
                while outcome == Outcome.PENDING:
                    outcome = mine.wait(number, number % 2, number % 3 == 0)
                if outcome != Outcome.MET or shown[:, number].tolist() != [1000 * r + number for r in range(size)]:
                    wrong.append((rank, number, outcome))

        in_threads(rank_of, size)
        assert not wrong


def timed(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def in_threads(target: Callable[[int], object], count: int) -> None:
    threads = [threading.Thread(target=target, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.skipif(native_meeting() is None, reason="the compiled modules are not built")
class TestNative:
    @pytest.mark.parametrize("sleeps", [False, True])
    def test_others_run_while_it_waits(self, sleeps: bool) -> None:
        mine = made(native_meeting(), regions_of(2), 0)
        waits, started = [0], threading.Event()

        def wait() -> None:
            started.set()
            for _ in range(300):
                mine.wait(1, 0, sleeps)
                waits[0] += 1

        # Nobody is made to give up the interpreter: this thread goes on only because the other does so by itself.
        interval = sys.getswitchinterval()
        sys.setswitchinterval(60)
        try:
            waiter = threading.Thread(target=wait)
            waiter.start()
            started.wait()
            assert waits[0] < 300
        finally:
            sys.setswitchinterval(interval)
        waiter.join(60)

    def test_every_outcome_is_that_of_the_plain_form(self) -> None:
        for arrivals in product((0, 1, 2), repeat=3):
            for states in product((0, 1), repeat=3):
                for frame, digests in ((NO_FRAME, 1), (1, 2)):
                    regions = regions_of(3)
                    for number, region in enumerate(regions):
                        flag(region)[:] = (arrivals[number], states[number])
                        digest(region, max(frame, 0))[:] = number % digests
                    looks = [
                        made(form, regions, 1).wait(1, frame, False) for form in (ArrivalMeeting, native_meeting())
                    ]
                    assert looks[0] == looks[1], (arrivals, states, frame, digests)

    @pytest.mark.parametrize(
        "arguments, error, text",
        [
            ((1,), TypeError, "2 arguments, got 1"),
            ((1, 2), ValueError, "frame 0 or 1, or -1 for none"),
            ((-1, 0), OverflowError, "negative"),
            (("1", 0), TypeError, "int"),
        ],
    )
    def test_bad_arguments(self, arguments: tuple, error: type[Exception], text: str) -> None:
        with pytest.raises(error, match=text):
            made(native_meeting(), regions_of(2), 0).meet(*arguments)

    def test_bad_memory(self) -> None:
        regions = regions_of(2)
        with pytest.raises(ValueError, match="aligned regions of at least"):
            made(native_meeting(), [regions[0], regions[1][:100]], 0)
        with pytest.raises(ValueError, match="aligned regions of at least"):
            made(native_meeting(), [regions[0], regions[1][1:]], 0)
        with pytest.raises(ValueError, match="a rank that has a region"):
            made(native_meeting(), regions, 2)
        with pytest.raises((TypeError, BufferError)):
            made(native_meeting(), [regions[0], 3], 0)
        regions[1].flags.writeable = False
        with pytest.raises((ValueError, BufferError)):
            made(native_meeting(), regions, 0)

    def test_it_keeps_the_memory_and_gives_it_back(self) -> None:
        memory = bytearray(region_bytes(64))
        mine = made(native_meeting(), [np.frombuffer(memory, np.uint8)], 0)
        with pytest.raises(BufferError):
            memory.extend(b"more")
        assert mine.meet(1, 0) == Outcome.MET
        del mine
        memory.extend(b"more")


class TestWindow:
    """`MpiWindow` over either form, one rank native and one not included."""

    @pytest.fixture(params=["native", "plain", "mixed"])
    def windows(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[MpiWindow]:
        if request.param != "plain" and native_meeting() is None:
            pytest.skip("the compiled modules are not built")
        forms = {"native": [native_meeting()] * 3, "plain": [ArrivalMeeting] * 3}
        forms["mixed"] = [ArrivalMeeting, native_meeting(), ArrivalMeeting]
        regions, made = regions_of(3), []
        for rank, form in enumerate(forms[request.param]):
            monkeypatch.setattr(mpi_window, "meeting_of", form)
            made.append(MpiWindow(regions, rank, lambda: None))
        return made

    def test_all_meet_and_compare(self, windows: list[MpiWindow]) -> None:
        agreed: list[list[bool]] = [[], [], []]

        def rank_of(rank: int) -> None:
            for call in range(60):
                digest(windows[rank].regions[rank], call % 2)[:] = 0 if call % 5 else rank
                agreed[rank].append(windows[rank].meet(60, call % 2))
                windows[rank].meet(60)

        in_threads(rank_of, 3)
        assert agreed == [[bool(call % 5) for call in range(60)]] * 3

    def test_a_late_rank_is_named(self, windows: list[MpiWindow]) -> None:
        with pytest.raises(Absence) as caught:
            windows[0].meet(0.02)
        assert (caught.value.late, caught.value.gone) == ([1, 2], {})

    def test_a_rank_that_leaves_while_others_wait(self, windows: list[MpiWindow]) -> None:
        found: list[Absence] = []

        def wait() -> None:
            try:
                windows[2].meet(60, 0)
            except Absence as absence:
                found.append(absence)

        waiter = threading.Thread(target=wait)
        waiter.start()
        while not flag(windows[2].regions[2])[ARRIVALS]:
            time.sleep(0.001)
        windows[0].leave(State.BROKEN, "left a call by KeyError")
        waiter.join(60)
        (absence,) = found
        assert absence.gone == {0: (State.BROKEN, "left a call by KeyError")}
        assert absence.late[0] == 0

    def test_an_interrupted_rank_takes_its_arrival_back(self, windows: list[MpiWindow]) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        windows[0]._progress = interrupt
        with pytest.raises(KeyboardInterrupt):
            windows[0].meet(60)
        windows[0].leave(State.BROKEN, "left a call by KeyboardInterrupt")
        assert flag(windows[0].regions[0]).tolist() == [0, State.BROKEN]
        with pytest.raises(Absence) as caught:
            windows[1].meet(60)
        assert list(caught.value.gone) == [0]

    def test_progress_is_made_while_it_waits(self, windows: list[MpiWindow]) -> None:
        calls: list[int] = []
        windows[0]._progress = lambda: calls.append(1)
        with pytest.raises(Absence):
            windows[0].meet(0.2)
        assert len(calls) >= 3

    def test_closing_gives_the_memory_back(self, windows: list[MpiWindow]) -> None:
        windows[0].close()
        windows[0].close()
        assert windows[0].regions == [] and windows[0].has_left(1) == ""


assert STATE == 1, "flags are written as (arrivals, state) above"


def test_ranks_that_meet_in_python_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is not there is no silent loss of speed, where that of the kernels is there."""
    monkeypatch.setitem(sys.modules, "dtrain.collectives._native", None)
    native_meeting.cache_clear()
    try:
        with pytest.warns(UserWarning, match="expected the compiled module _native, .*; ranks wait for one another in"):
            assert native_meeting() is None
        assert native_meeting() is None  # once
    finally:
        native_meeting.cache_clear()
