"""What bytes cost on the way: straight lines per link, and which ranks share a host."""

from __future__ import annotations

from dataclasses import dataclass

from dtrain.base.errors import expected


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Time = alpha + beta · bytes (Hockney).

    Attributes:
        alpha: start-up, seconds.
        beta: seconds per byte.
    """

    alpha: float
    beta: float

    def predict(self, nbytes: float) -> float:
        """Seconds for a message of `nbytes`."""
        return self.alpha + self.beta * nbytes


WITHIN_HOST = Line(alpha=1e-6, beta=1 / 10e9)
BETWEEN_HOSTS = Line(alpha=20e-6, beta=1 / 1.25e9)  # 10 Gbit/s
COPY = 1 / 10e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Where ranks are and what lies between them.

    Attributes:
        hosts: for each rank its host.
        within, between: of messages between ranks of one host, and of two.
        copy: seconds per byte that a rank copies, or reads to reduce.
        delays: for each rank, seconds by which everything it sends is late; none where it is empty.
    """

    hosts: tuple[int, ...]
    within: Line = WITHIN_HOST
    between: Line = BETWEEN_HOSTS
    copy: float = COPY
    delays: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.delays and len(self.delays) != len(self.hosts):
            raise ValueError(expected("Network", f"{len(self.hosts)} delays or none", f"{len(self.delays)}"))

    @classmethod
    def of_shape(cls, *ranks_per_host: int) -> Network:
        """Hosts with so many ranks each, in order.

        >>> Network.of_shape(2, 1).hosts
        (0, 0, 1)
        """
        return cls(hosts=tuple(host for host, count in enumerate(ranks_per_host) for _ in range(count)))

    def link(self, source: int, target: int) -> Line:
        """Between two ranks."""
        return self.within if self.hosts[source] == self.hosts[target] else self.between

    def delay(self, rank: int) -> float:
        """Seconds by which what a rank sends is late."""
        return self.delays[rank] if self.delays else 0.0

    def meeting(self) -> float:
        """Seconds from the last arrival to the end of a meeting of all ranks."""
        rounds = max(1, (len(self.hosts) - 1).bit_length())
        return self.within.alpha if len(set(self.hosts)) < 2 else rounds * self.between.alpha

    def part(self, ranks: tuple[int, ...]) -> Network:
        """The network of some of the ranks."""
        return Network(
            hosts=tuple(self.hosts[rank] for rank in ranks),
            within=self.within,
            between=self.between,
            copy=self.copy,
            delays=tuple(self.delays[rank] for rank in ranks) if self.delays else (),
        )
