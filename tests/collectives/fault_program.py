"""One trial of the fault test: random calls, one fault on one rank, and everybody goes on as if nothing had been.

Every rank catches what its calls raise and makes the next call, so that a call which pairs with another one of a peer
would give a wrong result. Each rank's data comes from (seed, call, rank): what is returned is compared with what that
very call has to return, and after the fault nothing may be returned at all.
"""

from __future__ import annotations

import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from contract_table import COMBINE

from dtrain.collectives.communicator.contract import Communicator

NUM_CALLS = 8
SIZES = (1, 30, 700, 5000)

KINDS = (
    "all_reduce", "all_reduce_in_place", "all_reduce_async", "all_reduce_many", "reduce_scatter", "all_gather",
    "broadcast", "all_to_all", "all_gather_object", "broadcast_object", "barrier", "allocate", "split",
)  # fmt: skip
# How the fault comes, and how often: an exception at a random line inside of the call, in the memory of its input, from
# an argument, from a signal handler (main threads only), by leaving for good, or by being later than the others wait.
FAULTS = {"line": 10, "memory": 2, "read_only": 2, "argument": 2, "leave": 3, "late": 1}
SIGNAL_FAULTS = FAULTS | {"alarm": 6}
QUICK_FAULTS = {name: share for name, share in FAULTS.items() if name != "late"}
EXCEPTIONS = (KeyboardInterrupt, MemoryError, OSError, ValueError)


class Injected(Exception):
    """An exception of the test's own."""


@dataclass
class Report:
    """What one rank saw."""

    fault: str
    fault_call: int
    is_faulty: bool
    raised: dict[int, str] = field(default_factory=dict)  # call → exception
    wrong: list[str] = field(default_factory=list)
    slowest: float = 0.0


def run_trial(comm: Communicator, seed: int, faults: dict[str, int]) -> Report:
    """Make the calls of trial `seed`; the same numbers are drawn on every rank."""
    draw = random.Random(seed)
    kinds = [draw.choice(KINDS) for _ in range(NUM_CALLS)]
    sizes = [draw.choice(SIZES) * comm.size for _ in range(NUM_CALLS)]
    (fault,) = draw.choices(list(faults), list(faults.values()))
    faulty_rank, fault_call = draw.randrange(comm.size), draw.randrange(NUM_CALLS - 2)
    exception, place, delay = draw.choice((*EXCEPTIONS, Injected)), draw.randrange(120), draw.random() * 2e-3
    report = Report(fault, fault_call, comm.rank == faulty_rank)
    for number, (kind, size) in enumerate(zip(kinds, sizes, strict=True)):
        is_fault = report.is_faulty and number == fault_call
        begin = time.monotonic()
        try:
            if is_fault and fault == "leave":
                break
            if is_fault and fault == "late":
                time.sleep(1.5 * comm.timeout)
            call = _Call(comm, kind, size, seed, number, fault if is_fault else "")
            result = _with_fault(comm, call, fault, exception, place, delay) if is_fault else call.make()
            if not call.is_right(result):
                report.wrong.append(f"call {number} ({kind} of {size}) on rank {comm.rank}: wrong result")
        except BaseException as error:
            report.raised[number] = f"{type(error).__name__}: {error}"
        report.slowest = max(report.slowest, time.monotonic() - begin)
    return report


def check_trial(seed: int, reports: list[Report], timeout: float) -> None:
    """No wrong result anywhere; once a rank has met the fault, nothing but errors on every rank, and in time."""
    said = f"trial {seed}: {reports}"
    assert not any(report.wrong for report in reports), said
    (faulty,) = [report for report in reports if report.is_faulty]
    has_happened = faulty.fault == "leave" or faulty.fault_call in faulty.raised
    if faulty.fault == "late":
        has_happened = any(report.raised for report in reports)
    for report in reports:
        assert report.slowest < 3 * timeout + 5, said
        early = [number for number in report.raised if number < faulty.fault_call]
        assert not early, f"calls {early} raised: {said}"
    others = [report for report in reports if not (report.is_faulty and faulty.fault == "leave")]
    later = [number in report.raised for report in others for number in range(faulty.fault_call + 1, NUM_CALLS)]
    if faulty.fault in ("line", "alarm") and not any(later):
        return  # the exception came when the call had been carried out: its result is lost, and nothing else
    assert all(later) == has_happened and any(later) == has_happened, said


class _Full(np.ndarray):
    """An array that cannot be copied or reshaped for want of memory."""

    def reshape(self, *shape: Any, **options: Any) -> Any:
        raise MemoryError("no memory for a reshape")

    flatten = reshape


class _Call:
    """One call of one rank, and what it has to return."""

    def __init__(self, comm: Communicator, kind: str, size: int, seed: int, number: int, fault: str) -> None:
        self.comm, self.kind, self.fault = comm, kind, fault
        self.root = number % comm.size
        self.op = ("sum", "max", "mean", "prod", "min")[number % 5]
        self.inputs = [
            np.random.default_rng([seed, number, rank]).normal(size=size).astype(np.float32)
            for rank in range(comm.size)
        ]

    def make(self) -> Any:
        comm, kind, op = self.comm, self.kind, self.op
        mine = self.inputs[comm.rank].copy()
        out: np.ndarray | None = None
        if self.fault == "memory":
            mine = mine.view(_Full)
        if self.fault == "argument":
            mine = mine.astype(np.complex64)
        if self.fault == "read_only":
            out = np.zeros_like(self._expected_array() if kind != "split" else mine)
            out.flags.writeable = False
        if kind == "all_reduce":
            return comm.all_reduce(mine, op=op, out=out)
        if kind == "all_reduce_in_place":
            mine.flags.writeable = self.fault != "read_only"
            return comm.all_reduce(mine, op=op, out=mine)
        if kind == "all_reduce_async":
            return comm.all_reduce_async(mine, op=op, out=out).wait()
        if kind == "all_reduce_many":
            parts = [mine[: mine.size // 3], mine[mine.size // 3 :]]
            outs = None if out is None else [out[: mine.size // 3], out[mine.size // 3 :]]
            return np.concatenate(comm.all_reduce_many(parts, op=op, outs=outs))
        if kind in ("reduce_scatter", "all_gather", "broadcast", "all_to_all"):
            options = {"reduce_scatter": {"op": op}, "broadcast": {"root": self.root}}.get(kind, {})
            return getattr(comm, kind)(mine, out=out, **options)
        return self._make_other(mine)

    def _make_other(self, mine: np.ndarray) -> Any:
        comm = self.comm
        is_bad = self.fault in ("argument", "read_only", "memory")
        value = (lambda: None) if is_bad else self.inputs[comm.rank].tobytes()  # a lambda cannot be pickled
        if self.kind == "all_gather_object":
            return comm.all_gather_object(value)
        if self.kind == "broadcast_object":
            return comm.broadcast_object(value, root=comm.size if is_bad else self.root)
        if self.kind == "allocate":
            return comm.allocate(-5 if is_bad else mine.nbytes)
        if self.kind == "split":
            child = comm.split("red" if is_bad else 0)  # type: ignore[arg-type]
            try:
                return child.all_reduce(mine, op=self.op)
            finally:
                child.close()
        comm.barrier()  # which has no argument that could be wrong
        return None

    def _expected_array(self) -> np.ndarray:
        comm, inputs = self.comm, self.inputs
        if self.kind == "all_gather":
            return np.stack(inputs)
        if self.kind == "broadcast":
            return inputs[self.root]
        if self.kind == "all_to_all":
            return np.concatenate([np.array_split(part, comm.size)[comm.rank] for part in inputs])
        total = inputs[0]
        for part in inputs[1:]:
            total = COMBINE[self.op](total, part)
        total = total / np.float32(comm.size) if self.op == "mean" else total
        return np.array_split(total, comm.size)[comm.rank] if self.kind == "reduce_scatter" else total

    def is_right(self, result: Any) -> bool:
        if self.kind == "barrier":
            return result is None
        if self.kind == "allocate":
            return result.nbytes == self.inputs[0].nbytes and not result.any()
        if self.kind == "all_gather_object":
            return result == [part.tobytes() for part in self.inputs]
        if self.kind == "broadcast_object":
            return result == self.inputs[self.root].tobytes()
        return np.asarray(result).tobytes() == self._expected_array().astype(np.float32).tobytes()


def _with_fault(
    comm: Communicator, call: _Call, fault: str, exception: type[BaseException], place: int, delay: float
) -> Any:
    if fault == "line":
        return _raise_at_line(comm, call.make, exception, place)
    if fault == "alarm":
        return _raise_by_signal(call.make, exception, delay)
    return call.make()


def _raise_at_line(comm: Communicator, make: Callable[[], Any], exception: type[BaseException], place: int) -> Any:
    """Make the call and raise at its `place`-th line: what an exception of a signal handler looks like.

    Lines count from where the call has its number: before that it has not been made. A call of fewer lines ends well.
    """
    before, left = _calls_made(comm), [place]

    def trace(frame: Any, event: str, _: object) -> Any:
        if "collectives" not in frame.f_code.co_filename.replace("tests/collectives", ""):
            return None
        if event == "line" and _calls_made(comm) > before:
            left[0] -= 1
            if left[0] == 0:
                raise exception("injected")
        return trace

    sys.settrace(trace)
    try:
        return make()
    finally:
        sys.settrace(None)


def _calls_made(comm: Communicator) -> int:
    return int(comm._numbers.__reduce__()[1][0])


def _raise_by_signal(make: Callable[[], Any], exception: type[BaseException], delay: float) -> Any:
    """Make the call with an alarm set, whose handler raises."""
    assert threading.current_thread() is threading.main_thread()

    def handle(*_: object) -> None:
        raise exception("alarm")

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, delay + 1e-6)
    try:
        return make()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
