"""Outputs that share memory with inputs: the result is the same at every size, in every call, or it is refused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.transports.thread_communicator import ThreadCommunicator, run_threads

Views = tuple[np.ndarray, np.ndarray]  # input and output in one buffer
SIZES = (3, 96, 5001, 60_000)
SHIFTS = (-16, -3, 1, 8, 16)


def overlapping(size_in: int, size_out: int, shift: int) -> Views:
    buffer = np.zeros(max(size_in, size_out) + 2 * abs(shift), np.float32)
    return buffer[abs(shift) :][:size_in], buffer[abs(shift) + shift :][:size_out]


CALLS: dict[
    str, tuple[Callable[[int, int], int], Callable[[Communicator, np.ndarray, np.ndarray | None], np.ndarray]]
] = {
    "all_reduce": (lambda n, p: n, lambda comm, x, out: comm.all_reduce(x, out=out)),
    "all_reduce weighted": (
        lambda n, p: n,
        lambda comm, x, out: comm.all_reduce(x, op="mean", weight=comm.rank + 1, out=out),
    ),
    "all_reduce_async": (lambda n, p: n, lambda comm, x, out: comm.all_reduce_async(x, out=out).wait(20)),
    "reduce_scatter": (lambda n, p: n // p, lambda comm, x, out: comm.reduce_scatter(x, out=out)),
    "reduce_scatter_async": (lambda n, p: n // p, lambda comm, x, out: comm.reduce_scatter_async(x, out=out).wait(20)),
    "broadcast": (lambda n, p: n, lambda comm, x, out: comm.broadcast(x, root=1, out=out)),
    "all_to_all": (lambda n, p: n, lambda comm, x, out: comm.all_to_all(x, out=out)),
    "all_gather": (lambda n, p: n * p, lambda comm, x, out: comm.all_gather(x, out=out)),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_shifted_output_gives_what_a_new_one_gives(name: str) -> None:
    out_size, call = CALLS[name]

    def program(comm: ThreadCommunicator) -> None:
        for size in SIZES:
            size -= size % comm.size
            for shift in SHIFTS:
                x, out = overlapping(size, out_size(size, comm.size), shift)
                x[:] = np.random.default_rng(comm.rank).normal(size=size)
                wanted = call(comm, x.copy(), None)
                shaped = out.reshape(wanted.shape)
                assert np.shares_memory(x, shaped) or size < 100
                assert call(comm, x, shaped).tobytes() == wanted.tobytes(), (size, shift)

    run_threads(3, program)


def test_many_arrays_may_overlap_one_anothers_outputs() -> None:
    def program(comm: ThreadCommunicator) -> None:
        for size in SIZES:
            for inputs, outputs in (((0, 1), (1, 2)), ((3, 5, 0), (1, 3, 5)), ((5, 1, 3), (1, 3, 5))):
                buffer = np.random.default_rng(comm.rank).normal(size=(6, size)).astype(np.float32)
                arrays, outs = [buffer[row] for row in inputs], [buffer[row] for row in outputs]
                wanted = comm.all_reduce_many([array.copy() for array in arrays])
                results = comm.all_reduce_many(arrays, outs=outs)  # some lie where others' inputs are
                assert [part.tobytes() for part in results] == [part.tobytes() for part in wanted], (size, outputs)

    run_threads(2, program)


def test_window_memory_may_overlap_too() -> None:
    def program(comm: ThreadCommunicator) -> None:
        for size in SIZES:
            memory = comm.allocate(4 * (size + 16)).view(np.float32)
            memory[:size] = np.random.default_rng(comm.rank).normal(size=size)
            wanted = comm.all_reduce(memory[:size].copy())
            assert comm.all_reduce(memory[:size], out=memory[16 : size + 16]).tobytes() == wanted.tobytes()

    run_threads(3, program)


@pytest.mark.parametrize("shift", [0, 1, 40])
def test_outputs_that_overlap_are_refused(shift: int) -> None:
    def program(comm: ThreadCommunicator) -> None:
        buffer, arrays = np.zeros(200, np.float32), [np.ones(50, np.float32), np.ones(50, np.float32)]
        with pytest.raises(ValueError, match="outs that share no memory, got two that overlap"):
            comm.all_reduce_many(arrays, outs=[buffer[:50], buffer[shift : 50 + shift]])
        with pytest.raises(ValueError, match="outs that share no memory"):
            comm.all_reduce_many(arrays, outs=[buffer[:100:2], buffer[shift : 50 + shift]])
        interleaved = [buffer[:100:2], buffer[1:100:2]]  # which share no element
        assert all((part == 2).all() for part in comm.all_reduce_many(arrays, outs=interleaved))

    run_threads(2, program)


def test_a_read_only_output_is_refused_before_anybody_waits() -> None:
    def program(comm: ThreadCommunicator) -> None:
        out = np.broadcast_to(np.float32(0), (4,))
        for call in (comm.all_reduce, comm.broadcast, comm.all_to_all, comm.all_reduce_async):
            with pytest.raises(ValueError, match="an out that can be written to, got a read-only array"):
                call(np.ones(4, np.float32), out=out)
        with pytest.raises(ValueError, match="an out that can be written to"):
            comm.recv(source=0, out=out)
        assert comm.all_reduce(np.ones(1))[0] == 2, "all ranks were refused alike"

    run_threads(2, program)


def test_an_output_whose_elements_share_memory_is_refused() -> None:
    def program(comm: ThreadCommunicator) -> None:
        base = np.zeros(12)
        strided = np.lib.stride_tricks.as_strided
        crossing = strided(base, (2, 3), (24, 16))  # rows begin within the row before, between its elements
        for out in (strided(base, (4,), (0,)), strided(base, (2, 3), (8, 8)), strided(base, (2, 3), (16, 16))):
            x = np.ones(out.shape)
            for call in (comm.all_reduce, comm.broadcast, comm.all_to_all, comm.all_reduce_async):
                with pytest.raises(ValueError, match="an out with memory for each element"):
                    call(x, out=out)
            with pytest.raises(ValueError, match="an out with memory for each element"):
                comm.recv(source=0, out=out)
        comm.all_reduce(np.arange(6.0).reshape(2, 3), out=crossing)
        assert crossing.tolist() == [[0, 2, 4], [6, 8, 10]]
        assert comm.all_reduce(np.ones((2, 3)), out=base.reshape(3, 4)[:, :2].T).tolist() == [[2] * 3] * 2

    run_threads(2, program)


@pytest.mark.parametrize("op", ["sum", "mean"])
def test_what_lies_between_arrays_in_shared_memory_is_left_alone(op: str) -> None:
    def program(comm: ThreadCommunicator) -> None:
        count = 5001  # 8 bytes behind a line: 56 are left until the next array
        memory = comm.allocate(200_000).view(np.float32)
        first, between, second, after = np.split(memory, [count, 5008, 5008 + count, 5008 + count + 3])[:4]
        weight = comm.rank + 1.0 if op == "mean" else None
        for round_number in (1, 2):
            first[:], second[:] = comm.rank + 1, 10 * comm.rank
            between[:], after[:] = 100 + comm.rank, 200 + comm.rank
            comm.all_reduce_many([first, second], outs=[first, second], op=op, weight=weight)
            assert (between == 100 + comm.rank).all() and (after == 200 + comm.rank).all(), round_number
            wanted = (6, 30) if op == "sum" else (14 / 6, 80 / 6)
            assert np.allclose(first, wanted[0]) and np.allclose(second, wanted[1])

    run_threads(3, program, staging_bytes=4096)


def test_masked_arrays_are_refused_before_anybody_waits() -> None:
    def program(comm: ThreadCommunicator) -> None:
        masked = np.ma.array([1.0, 2.0], mask=[False, True])
        for call in (comm.all_reduce, comm.broadcast, comm.all_gather, comm.all_to_all):
            with pytest.raises(TypeError, match="every element counts, got a masked one"):
                call(masked)
        assert comm.all_reduce(np.ones(1))[0] == 2

    run_threads(2, program)
