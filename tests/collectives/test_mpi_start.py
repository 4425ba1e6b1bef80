"""Waiting: prompt, bounded, and never without progress."""

from __future__ import annotations

import time

import pytest

from dtrain.collectives.transports.mpi_start import SPINS, wait_until

pytestmark = pytest.mark.alone


def test_what_is_done_is_not_waited_for() -> None:
    begin = time.monotonic()
    assert wait_until(lambda: True, timeout=60)
    assert time.monotonic() - begin < 1


def test_the_end_of_time_is_kept() -> None:
    progress: list[int] = []
    begin = time.monotonic()
    assert not wait_until(lambda: False, 0.05, lambda: progress.append(1))
    assert 0.05 <= time.monotonic() - begin < 5
    assert len(progress) > 2, "a long wait keeps MPI moving"


def test_a_wait_that_outlasts_spinning_still_ends() -> None:
    polls = iter(range(10 * SPINS))
    assert wait_until(lambda: next(polls) > 2 * SPINS, timeout=60)
