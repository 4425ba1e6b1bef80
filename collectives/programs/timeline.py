"""Programs on a clock: when each step of each rank begins and ends, by discrete events.

Every rank carries out its steps one after the other. Copies and reductions cost their bytes; a meeting ends for all
when the last has come; messages leave through the port of their sender and arrive through that of their receiver, one
behind the other (ranks of a host share one port to other hosts), each with the α and β of its link. The same
programs, begins and network give the same times: nothing here asks a real clock.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import NamedTuple, Protocol

from dtrain.collectives.programs.network import Network
from dtrain.collectives.programs.program import Copy, Exchange, Meet, Program, Reduce, Slice, Step
from dtrain.collectives.programs.rank_order import Array


class Carrier(Protocol):
    """What carries the steps out while the clock runs; without one, only times are known."""

    def copy(self, rank: int, step: Copy) -> None: ...

    def reduce(self, rank: int, step: Reduce) -> None: ...

    def take(self, rank: int, data: Slice) -> Array:
        """What a rank sends, as it is now."""

    def give(self, rank: int, data: Slice, content: Array) -> None: ...


class Span(NamedTuple):
    """One step of one rank, in seconds."""

    rank: int
    begin: float
    end: float
    step: Step


@dataclass
class Timeline:
    """What became of the ranks.

    Attributes:
        ends: when each rank was through, for those that were.
        missing: for each rank that waits for ever, those that it waits for.
        since: when those began to wait.
        dead: ranks that ended on the way.
        spans: every step, in the order in which steps end.
    """

    ends: dict[int, float] = field(default_factory=dict)
    missing: dict[int, list[int]] = field(default_factory=dict)
    since: dict[int, float] = field(default_factory=dict)
    dead: set[int] = field(default_factory=set)
    spans: list[Span] = field(default_factory=list)


class _Message(NamedTuple):
    arrival: float
    content: Array | None


class _Waiting(NamedTuple):
    exchange: Exchange
    begin: float
    sent: float  # when all that it sends has left


def timeline(
    programs: Sequence[Program],
    network: Network,
    begins: Sequence[float] | None = None,
    *,
    deaths: Mapping[int, float] | None = None,
    carrier: Carrier | None = None,
) -> Timeline:
    """Run the programs of one call, in rank order.

    Args:
        programs: one per rank.
        network: of these ranks.
        begins: when each rank makes the call; 0 for all where it is not given.
        deaths: ranks that end at a time: they do nothing that would begin then or later.
        carrier: carries the steps out on arrays.
    """
    begins = [0.0] * len(programs) if begins is None else begins
    return _Clock(programs, network, begins, deaths or {}, carrier).run()


class _Clock:
    def __init__(
        self,
        programs: Sequence[Program],
        network: Network,
        begins: Sequence[float],
        deaths: Mapping[int, float],
        carrier: Carrier | None,
    ) -> None:
        self.size = len(programs)
        self.network = network
        self.deaths = deaths
        self.carrier = carrier
        self.result = Timeline()
        self.steps: list[Iterator[Step]] = [program.steps() for program in programs]
        self.events = [(begin, rank) for rank, begin in enumerate(begins)]
        self.events.sort()
        self.meetings: dict[int, dict[int, float]] = defaultdict(dict)
        self.num_meetings = Counter[int]()
        self.waiting: dict[int, _Waiting] = {}
        self.messages: dict[tuple[int, int], deque[_Message]] = defaultdict(deque)
        self.ports: dict[tuple[str, str, int], float] = defaultdict(float)

    def run(self) -> Timeline:
        while self.events:
            time, rank = heappop(self.events)
            if time >= self.deaths.get(rank, float("inf")):
                self.result.dead.add(rank)
            elif (step := next(self.steps[rank], None)) is None:
                self.result.ends[rank] = time
            else:
                self._begin(rank, time, step)
        self._note_missing()
        return self.result

    def _begin(self, rank: int, time: float, step: Step) -> None:
        match step:
            case Copy():
                if self.carrier is not None:
                    self.carrier.copy(rank, step)
                self._end(rank, time, time + step.source.nbytes * self.network.copy, step)
            case Reduce():
                if self.carrier is not None:
                    self.carrier.reduce(rank, step)
                nbytes = sum(part.nbytes for part in step.parts)
                self._end(rank, time, time + nbytes * self.network.copy, step)
            case Meet():
                self._come(rank, time, step)
            case Exchange():
                self._send_all(rank, time, step)

    def _end(self, rank: int, begin: float, end: float, step: Step) -> None:
        self.result.spans.append(Span(rank, begin, end, step))
        heappush(self.events, (end, rank))

    def _come(self, rank: int, time: float, step: Meet) -> None:
        number = self.num_meetings[rank]
        self.num_meetings[rank] += 1
        came = self.meetings[number]
        came[rank] = time
        if len(came) == self.size:
            end = max(came.values()) + self.network.meeting()
            for other, arrival in sorted(came.items()):
                self._end(other, arrival, end, step)
            del self.meetings[number]

    def _send_all(self, rank: int, time: float, exchange: Exchange) -> None:
        left = time
        # Each begins with its neighbour, so that nobody gets everything at once.
        for peer, data in sorted(exchange.sends, key=lambda send: (send.peer - rank) % self.size):
            content = None if self.carrier is None else self.carrier.take(rank, data)
            departed, arrival = self._travel(rank, peer, data.nbytes, time)
            left = max(left, departed)
            self.messages[rank, peer].append(_Message(arrival, content))
        self.waiting[rank] = _Waiting(exchange, time, left)
        for receiver in sorted({rank, *(peer for peer, _ in exchange.sends)}):
            self._receive_all(receiver)

    def _travel(self, source: int, target: int, nbytes: int, time: float) -> tuple[float, float]:
        """When a message has left its sender, and when it has arrived."""
        if source == target:
            arrival = time + nbytes * self.network.copy
            return arrival, arrival
        line = self.network.link(source, target)
        hosts = self.network.hosts
        is_near = hosts[source] == hosts[target]
        kind, ends = ("rank", (source, target)) if is_near else ("host", (hosts[source], hosts[target]))
        out, into = (kind, "out", ends[0]), (kind, "in", ends[1])
        departed = max(time, self.ports[out]) + line.beta * nbytes
        self.ports[out] = departed
        # The first byte comes α behind the last departure's begin; the port takes as long as the message is.
        first = departed - line.beta * nbytes + line.alpha + self.network.delay(source)
        arrival = max(first, self.ports[into]) + line.beta * nbytes
        self.ports[into] = arrival
        return departed, arrival

    def _receive_all(self, rank: int) -> None:
        if rank not in self.waiting or self._lacking(rank):
            return
        exchange, begin, end = self.waiting.pop(rank)
        for peer, data in exchange.receives:
            arrival, content = self.messages[peer, rank].popleft()
            end = max(end, arrival)
            if self.carrier is not None and content is not None:
                self.carrier.give(rank, data, content)
        self._end(rank, begin, end, exchange)

    def _lacking(self, rank: int) -> list[int]:
        """Whose message a waiting rank lacks."""
        wanted = Counter(peer for peer, _ in self.waiting[rank].exchange.receives)
        return sorted(peer for peer, count in wanted.items() if len(self.messages[peer, rank]) < count)

    def _note_missing(self) -> None:
        for came in self.meetings.values():
            missing = [rank for rank in range(self.size) if rank not in came]
            for rank, time in came.items():
                self.result.missing[rank], self.result.since[rank] = missing, time
        for rank, waiting in self.waiting.items():
            self.result.missing[rank], self.result.since[rank] = self._lacking(rank), waiting.begin
