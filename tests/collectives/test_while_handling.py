"""Calls made for an exception (in a `finally`, in an `except`): where ranks part, all of them see the exception."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dtrain.base.errors import CollectiveMismatchError
from dtrain.collectives.communicator.call_text import CALL_TEXT_BYTES, DIGEST_BYTES, call_text_in, frame_of
from dtrain.collectives.transports.thread_communicator import run_threads


@pytest.mark.parametrize("size", [2, 3])
def test_a_barrier_in_a_finally_does_not_hide_what_led_to_it(size: int) -> None:
    """`try: train() finally: dist.barrier()`: the mismatch alone would say nothing of the batch that failed."""

    def program(comm: Any) -> BaseException:
        with pytest.raises(CollectiveMismatchError) as caught:
            if comm.rank != 1:
                comm.all_reduce(np.ones(3))
            try:
                raise ValueError("bad batch\nof many lines")
            finally:
                comm.barrier()
        return caught.value

    errors = run_threads(size, program, timeout=10)
    for error in errors:
        assert "rank 1: barrier (while handling ValueError: bad batch)" in str(error)
        assert "all_reduce sum f64[3]" in str(error)
    assert isinstance(errors[1].__cause__, ValueError)


def test_handling_an_exception_is_nothing_to_agree_on() -> None:
    def program(comm: Any) -> list[float]:
        sums = []
        for _ in range(3):
            try:
                if comm.rank == 1:
                    raise OSError("a file that only this rank reads")
                sums.append(comm.all_reduce(np.ones(1))[0])
            except OSError:
                sums.append(comm.all_reduce(np.ones(1))[0])
        work = comm.all_reduce_async(np.ones(1))
        return [*sums, work.wait(5)[0]]

    assert run_threads(3, program, timeout=10) == [[3.0] * 4] * 3


def test_an_exception_of_before_is_no_longer_told() -> None:
    def program(comm: Any) -> str:
        try:
            raise KeyError("handled")
        except KeyError:
            comm.barrier()
        with pytest.raises(CollectiveMismatchError) as caught:
            comm.all_gather(np.ones(1 + comm.rank))
        return str(caught.value)

    assert all("handling" not in text for text in run_threads(2, program, timeout=10))


@pytest.mark.parametrize("text", ["barrier", "all_reduce sum f32[8]" * 40])
def test_a_remark_changes_no_digest(text: str) -> None:
    plain, remarked = frame_of(text), frame_of(text, " (while handling ValueError: \ud800 é)")
    assert plain[:DIGEST_BYTES] == remarked[:DIGEST_BYTES] and len(plain) == len(remarked) == CALL_TEXT_BYTES
    assert call_text_in(remarked).startswith(text[:200])
    assert "while handling" in call_text_in(remarked) or len(text) > CALL_TEXT_BYTES
