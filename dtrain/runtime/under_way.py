"""Collectives that are under way while kernels run: begun at their node, waited for where their results are read.

How an op is begun is said by the floor that has the communicators (`STARTS`). Only what lies in a bucket may
be under way: a bucket is memory of its own, in which no other value ever lies, so that a step has to wait only if it
touches a member.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from dtrain.base.exception_text import exception_message
from dtrain.graph.facet import Facet
from dtrain.graph.graph import Node, Value
from dtrain.runtime.buckets import bucket_members
from dtrain.runtime.steps import Step
from dtrain.runtime.storage import Storage


class Work(Protocol):
    """A collective that has begun."""

    def wait(self) -> Any:
        """Return once its results are there; raise what it raised."""


# (*inputs, out=…, **attrs) -> the work. Inputs outside of the bucket are read before it returns.
Start = Callable[..., Work]

# Nodes of these ops may be under way while others run.
STARTS: Facet[Start] = Facet("start")


class _Flight:
    """One collective, in every run between its start and the wait for it."""

    __slots__ = ("begin", "node", "work")

    def __init__(self, begin: Callable[[], Work], node: Node) -> None:
        self.begin, self.node = begin, node
        self.work: Work | None = None

    def start(self) -> None:
        self.work = self.begin()

    def wait(self) -> None:
        if self.work is None:
            return
        try:
            self.work.wait()
        except Exception:
            self.work = None
            raise
        self.work = None  # and not where an interrupt ended the wait: the work goes on


class UnderWay:
    """What a bound graph has under way, in the order of its steps."""

    def __init__(self, storage: Mapping[Value, Storage]) -> None:
        self._storage = storage
        self._flights: list[_Flight] = []
        self._open: dict[Storage, _Flight] = {}  # bound so far: started, and not waited for

    def takes(self, node: Node) -> bool:
        """Whether the node may be under way while others run."""
        members = bucket_members(node)
        return (
            bool(members)
            and node.op.name in STARTS
            and members[0].type.device.is_cpu
            and all(self._storage[value].block is not None for value in (*members, *node.outputs))
        )

    def start(self, node: Node, inputs: Iterable[Any], out: Any, name: str) -> Step:
        """The step that begins the node."""
        begin, attrs, inputs = STARTS.of(node.op.name), node.attrs, list(inputs)
        assert begin is not None, node.op
        flight = _Flight(lambda: begin(*inputs, out=out, **attrs), node)
        self._flights.append(flight)
        self._open.update((self._storage[value], flight) for value in (*bucket_members(node), *node.outputs))
        return Step("start", flight.start, node, name)

    def waits_before(self, node: Node) -> list[Step]:
        """What has to end before the node runs: it reads or writes memory that is under way."""
        if not self._open:
            return []
        touched = [self._open.get(self._storage[value]) for value in (*node.inputs, *node.outputs)]
        return [self._wait(flight) for flight in dict.fromkeys(touched) if flight is not None]

    def waits_at_end(self) -> list[Step]:
        """What has to end before the results of a run are there."""
        return [self._wait(flight) for flight in dict.fromkeys(self._open.values())]

    def _wait(self, flight: _Flight) -> Step:
        self._open = {storage: other for storage, other in self._open.items() if other is not flight}
        return Step("wait", flight.wait, flight.node, "wait")

    def end(self, error: BaseException) -> None:
        """A run ended by `error`: let what it has begun come to its end, before memory is written again.

        It gets a note of every other error. Those that begin alike have the same cause: one of several collectives
        ended badly, and those behind it because of that.
        """
        said = [exception_message(error)]
        for flight in self._flights:
            try:
                flight.wait()
            except Exception as other:
                text = exception_message(other)
                if any(_begin_alike(text, before) for before in said):
                    continue
                said.append(text)
                if hasattr(error, "add_note"):
                    name = flight.node.op.name
                    error.add_note(f"{name}, which was under way, ended by {type(other).__name__}: {text}")


def _begin_alike(one: str, other: str) -> bool:
    return one == other or (bool(one and other) and (one.startswith(other) or other.startswith(one)))
