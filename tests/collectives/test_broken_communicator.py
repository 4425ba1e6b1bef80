"""A call that ends by an exception on one rank: all ranks raise from then on, and say who left what and how."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import numpy as np
import pytest

from dtrain.base.errors import CollectiveError, CollectiveMismatchError, PeerLostError
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.communicator.ordered_calls import OrderedCalls
from dtrain.collectives.transports.thread_communicator import ThreadCommunicator, run_threads


class Full(np.ndarray):
    """An array for whose copy there is no memory."""

    def reshape(self, *shape: int) -> np.ndarray:
        raise MemoryError("no room")


class Interrupted(np.ndarray):
    """An array in whose copy somebody presses Ctrl-C."""

    def reshape(self, *shape: int) -> np.ndarray:
        raise KeyboardInterrupt


def message_of(call: Callable[[], object], kind: type[BaseException]) -> str:
    with pytest.raises(kind) as caught:
        call()
    return str(caught.value)


LATER: list[Callable[[Communicator], object]] = [
    lambda comm: comm.all_reduce(np.ones(3)),
    lambda comm: comm.all_reduce_async(np.ones(3)).wait(5),
    lambda comm: comm.all_reduce_many([np.ones(3), np.ones(2)]),
    lambda comm: comm.reduce_scatter(np.ones(3 * comm.size)),
    lambda comm: comm.all_gather(np.ones(3)),
    lambda comm: comm.broadcast(np.ones(3)),
    lambda comm: comm.all_to_all(np.ones(3 * comm.size)),
    lambda comm: comm.all_gather_object(1),
    lambda comm: comm.broadcast_object(1),
    lambda comm: comm.barrier(),
    lambda comm: comm.split(0),
    lambda comm: comm.allocate(64),
]


class Silent(Exception):
    """Of a signal handler of the user's, and without a text."""

    def __str__(self) -> str:
        raise KeyError(1)


class OfTheUser(CollectiveError):
    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} \udcff {second}")


class Breaks(np.ndarray):
    """An array in whose copy something unforeseen is raised."""

    error: BaseException = Silent()

    def reshape(self, *shape: int) -> np.ndarray:
        raise self.error


class BreaksByOurs(Breaks):
    error = OfTheUser(1, 2)


NAMES = {
    Full: "MemoryError: no room",
    Interrupted: "KeyboardInterrupt",
    Breaks: "Silent: (its text cannot be shown: __str__ raised KeyError)",
    BreaksByOurs: "OfTheUser: 1 \udcff 2",
}


@pytest.mark.parametrize("kind", NAMES)
def test_every_later_call_raises_on_every_rank(kind: type[np.ndarray]) -> None:
    name = NAMES[kind]

    def program(comm: ThreadCommunicator) -> None:
        x = np.ones(5000)
        if comm.rank == 1:
            with pytest.raises((MemoryError, KeyboardInterrupt, Silent, OfTheUser)):
                comm.all_reduce(x.view(kind))
        else:
            text = message_of(lambda: comm.all_reduce(x), PeerLostError)
            assert f"but rank 1 left all_reduce sum f64[5000] by {name}; this communicator is broken" in text
        for call in LATER:
            assert "broken" in message_of(lambda call=call: call(comm), CollectiveError)
        comm.send(np.ones(2), destination=(comm.rank + 1) % comm.size)  # messages are no part of the order
        assert comm.recv(source=(comm.rank - 1) % comm.size).tolist() == [1, 1]

    run_threads(3, program)


def test_a_rank_that_fails_without_a_text_ends_the_others_at_once() -> None:
    def program(comm: ThreadCommunicator) -> None:
        if comm.rank == 1:
            raise Silent
        message_of(comm.barrier, PeerLostError)

    begin = time.monotonic()
    with pytest.raises(Silent):
        run_threads(2, program, timeout=30)
    assert time.monotonic() - begin < 15


def test_a_timeout_and_a_retry_give_no_wrong_sum() -> None:
    def program(comm: ThreadCommunicator) -> list[str]:
        comm.barrier()
        if comm.rank == 2:
            time.sleep(0.6)
        return [message_of(lambda n=n: comm.all_reduce(np.full(5000, n)), CollectiveError) for n in range(3)]

    texts = run_threads(3, program, timeout=0.3)
    assert "got nothing from rank 2; rank 2 was last in barrier; look at what" in texts[0][0]
    assert "by CollectiveError: group 'world', collective 2" in texts[2][0]
    assert all("broken since a call ended half-way" in text for rank in texts for text in rank[1:])


def interrupt_at(line: int) -> Callable[[FrameType, str, Any], Any]:
    """A trace function that lets Ctrl-C come before a line of the frame that carries a collective out."""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is not OrderedCalls._carry_out.__code__:
            return None
        if event == "line" and frame.f_lineno == line:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    return trace


def test_an_interrupt_at_any_line_of_a_call_gives_no_wrong_sum() -> None:
    """The rank goes on with its next call: either all stand at the same one, or all raise."""
    code = OrderedCalls._carry_out.__code__
    lines = sorted({line for _, _, line in code.co_lines() if line is not None and line > code.co_firstlineno})
    interrupted: list[int] = []

    def program(comm: ThreadCommunicator, line: int) -> None:
        sums = []
        for number in (1, 10, 100):
            before = sys.gettrace()
            sys.settrace(interrupt_at(line) if (comm.rank, number) == (0, 1) else before)
            try:
                sums.append((comm.all_reduce(np.full(5, float(number)))[0], 2 * number))
            except KeyboardInterrupt:
                interrupted.append(line)
            except CollectiveError:
                pass
            finally:
                sys.settrace(before)
        assert all(got == wanted for got, wanted in sums), (line, sums)

    for line in lines:
        run_threads(2, lambda comm, line=line: program(comm, line), timeout=10)
    assert len(interrupted) >= 8, "lines that a call without errors runs through"


@pytest.mark.parametrize("bad", [{"out": np.broadcast_to(0.0, 3)}, {"op": "avg"}, {"out": np.empty(4)}])
def test_a_call_that_one_rank_refuses_is_missed_by_the_others(bad: dict[str, object]) -> None:
    def program(comm: ThreadCommunicator) -> None:
        x = np.full(3, 1.0)
        if comm.rank == 0:
            with pytest.raises(ValueError):
                comm.all_reduce(x, **bad)
        for _ in range(2):
            text = message_of(lambda: comm.all_reduce(x), CollectiveMismatchError)
            assert "rank 0: all_reduce sum f64[3] (after 1 call of this rank that ended before the others" in text
        if comm.rank != 0:
            assert "rank 0 has ended its script" in message_of(lambda: comm.all_reduce(x), PeerLostError)

    run_threads(3, program)


def test_a_call_that_all_ranks_refuse_breaks_nothing() -> None:
    def program(comm: ThreadCommunicator) -> None:
        for _ in range(3):
            with pytest.raises(ValueError):
                comm.all_reduce(np.ones(3), op="avg")
            with pytest.raises(TypeError):
                comm.split("red")  # type: ignore[arg-type]
            assert comm.all_reduce(np.ones(3))[0] == 2

    run_threads(2, program)


def test_other_groups_go_on() -> None:
    def program(comm: ThreadCommunicator) -> None:
        half = comm.split(comm.rank % 2)
        x = np.ones(3)
        if comm.rank in (0, 2):
            message_of(lambda: half.all_reduce(x.view(Full) if comm.rank == 2 else x), Exception)
        else:
            half.all_reduce(x)
        assert comm.all_reduce(x)[0] == 4

    run_threads(4, program)


def test_ranks_of_groups_are_ranks_of_the_job() -> None:
    def program(comm: ThreadCommunicator) -> None:
        half = comm.split(comm.rank % 2)  # 0,2,4 and 1,3
        if comm.rank % 2:
            text = message_of(lambda: half.all_reduce(np.ones(comm.rank)), CollectiveMismatchError)
            assert "got rank 1: all_reduce sum f64[1]; rank 3: all_reduce sum f64[3]" in text
            if comm.rank == 1:
                half.timeout = 0.1
                assert "from rank 3 within" in message_of(lambda: half.recv(source=1), CollectiveError)
                half.timeout = 20.0
            half.barrier()
            if comm.rank == 3:
                message_of(lambda: half.all_reduce(np.ones(3).view(Full)), MemoryError)
            else:
                assert "but rank 3 left all_reduce" in message_of(lambda: half.all_reduce(np.ones(3)), PeerLostError)
        elif comm.rank == 4:
            half.close()
        else:
            text = message_of(lambda: half.barrier(), PeerLostError)
            assert f"on rank {comm.rank}: expected every rank of the group, but rank 4 has closed this" in text
            if comm.rank == 0:
                assert "from rank 4, but rank 4 has closed" in message_of(lambda: half.recv(source=2), PeerLostError)

    run_threads(5, program, timeout=20)


def test_the_first_cause_is_passed_on() -> None:
    """Who raises because of another rank does not hide that rank."""

    def program(comm: ThreadCommunicator) -> str:
        if comm.rank == 1:
            return ""
        if comm.rank == 2:
            time.sleep(0.3)
        return message_of(comm.barrier, PeerLostError)

    for text in run_threads(3, program)[::2]:
        assert text.endswith("but rank 1 has ended its script; was this call made by some ranks only?")


def test_recv_from_a_rank_that_has_ended_raises_at_once_and_gets_what_was_sent() -> None:
    def program(comm: ThreadCommunicator) -> None:
        if comm.rank == 1:
            comm.send(np.arange(3), destination=0, tag=4)
            return
        time.sleep(0.1)
        assert comm.recv(source=1, tag=4).tolist() == [0, 1, 2]
        begin = time.monotonic()
        assert "but rank 1 has ended its script" in message_of(lambda: comm.recv(source=1, tag=4), PeerLostError)
        with pytest.raises(PeerLostError):
            comm.recv_async(source=1, tag=5).wait(10)
        assert time.monotonic() - begin < 5

    run_threads(2, program)


def test_recv_from_a_rank_that_broke_off_and_ended_raises_at_once_too() -> None:
    def program(comm: ThreadCommunicator) -> None:
        if comm.rank == 1:
            message_of(lambda: comm.all_reduce(np.ones(3).view(Full)), MemoryError)
            return
        message_of(comm.barrier, CollectiveError)
        assert "but rank 1 has ended its script" in message_of(lambda: comm.recv(source=1), PeerLostError)

    run_threads(2, program)


def test_a_message_that_failed_and_that_nobody_waited_for_is_raised_by_close() -> None:
    def program(comm: ThreadCommunicator) -> None:
        comm.send(np.ones(3), destination=comm.rank)
        comm.recv_async(source=comm.rank, shape=(4,))
        comm.barrier()
        time.sleep(0.2)

    with pytest.raises(CollectiveMismatchError, match="expected any dtype"):
        run_threads(2, program)


def test_a_waiting_recv_does_not_hold_close() -> None:
    def program(comm: ThreadCommunicator) -> None:
        comm.recv_async(source=(comm.rank + 1) % 2, tag=7)
        comm.barrier()

    begin = time.monotonic()
    # Whoever leaves first tells the other, whose message will never come.
    with suppress(PeerLostError):
        run_threads(2, program)
    assert time.monotonic() - begin < 20


def test_an_error_that_nobody_waits_for_is_raised_by_close() -> None:
    def program(comm: ThreadCommunicator) -> None:
        comm.all_reduce_async(np.ones(3).view(Full))

    with pytest.raises(MemoryError, match="no room"):
        run_threads(2, program)


def test_an_error_that_was_waited_for_is_not_raised_again() -> None:
    def program(comm: ThreadCommunicator) -> int:
        work = comm.all_reduce_async(np.ones(3).view(Full))
        with pytest.raises(MemoryError):
            work.wait()
        return comm.rank

    assert run_threads(1, program) == [0]


def test_closing_gives_a_group_of_threads_back() -> None:
    def program(comm: ThreadCommunicator) -> None:
        for _ in range(50):
            child = comm.split(comm.rank % 2)
            child.barrier()
            child.close()
        comm.barrier()
        assert comm.family == [comm] and list(comm.groups) == ["world"]
        comm.barrier()
        assert not comm._world.children

    run_threads(3, program)


@pytest.mark.parametrize("nbytes", [-5, 2.5, "64"])
def test_allocate_refuses_what_is_no_size(nbytes: object) -> None:
    def program(comm: ThreadCommunicator) -> None:
        with pytest.raises((ValueError, TypeError), match="allocate: expected a"):
            comm.allocate(nbytes)  # type: ignore[arg-type]
        assert comm.allocate(np.int64(100)).nbytes == 100

    run_threads(2, program)


def test_allocate_and_split_are_agreed_like_every_call() -> None:
    def program(comm: ThreadCommunicator) -> None:
        text = message_of(lambda: comm.allocate(64 * (1 + comm.rank)), CollectiveMismatchError)
        assert "rank 0: allocate 64; rank 1: allocate 128" in text
        other = comm.barrier if comm.rank else lambda: comm.split(0)
        assert "rank 0: split" in message_of(other, CollectiveMismatchError)
        text = message_of(lambda: comm.allocate(1 << 60), CollectiveError)
        assert "expected 1152921504606846976 bytes of shared memory on every rank" in text and "on rank 0" in text
        assert comm.allocate(64).nbytes == 64, "what all ranks were refused breaks nothing"

    run_threads(2, program)


@pytest.mark.parametrize("call", [lambda comm: comm.allocate(64), lambda comm: comm.split(0)])
def test_a_rank_that_ends_or_is_late_is_named_in_allocate_and_split(call: Callable[[Communicator], object]) -> None:
    def ending(comm: ThreadCommunicator) -> None:
        if comm.rank == 0:
            assert "rank 1 has ended its script" in message_of(lambda: call(comm), PeerLostError)

    run_threads(2, ending)
    has_waited = threading.Event()

    def late(comm: ThreadCommunicator) -> None:
        if comm.rank == 0:
            assert "within 0.2 s, got nothing from rank 1" in message_of(lambda: call(comm), CollectiveError)
            has_waited.set()
        has_waited.wait(20)

    run_threads(2, late, timeout=0.2)


def test_tracebacks_show_the_callers_lines() -> None:
    def program(comm: ThreadCommunicator) -> int:
        with pytest.raises(CollectiveMismatchError) as caught:
            comm.all_reduce(np.ones(1 + comm.rank))
        return len(caught.traceback)

    assert max(run_threads(2, program)) <= 3
