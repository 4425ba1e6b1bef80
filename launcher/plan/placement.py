"""Where the ranks are and what each is told: of a plan as far as it can be known, and of what every rank's supervisor
reports before any script starts. Both tables are made by `place`.

Pure. What the ranks are told comes from the machines themselves, not from the plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dtrain.base.cores import THREAD_VARIABLES, share_of_cores


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRank:
    """One rank as it is planned (`cores` are empty on another host) or as its supervisor reports it.

    `address` is where the launcher sees its host.
    """

    rank: int
    host: str
    address: str = ""
    pid: int = 0
    cores: tuple[int, ...] = ()
    num_cores: int = 0
    devices: tuple[str, ...] = ()
    free_port: int = 0

    def device(self, local_rank: int) -> str:
        """What the rank computes on; "" where that is not known."""
        if not self.cores:
            return ""
        return f"cuda:{local_rank}" if local_rank < len(self.devices) else "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedRank:
    """One row of the rank table. Numbers are 0, and `cores` and `device` empty, where they are not known."""

    rank: int
    host: str
    node_rank: int
    local_rank: int
    local_size: int
    cores: tuple[int, ...] = ()
    num_threads: int = 0
    device: str = "cpu"
    pid: int = 0


def place(ranks: Iterable[KnownRank]) -> list[PlacedRank]:
    """Number nodes in the order of their first rank, ranks within a node in rank order, and divide cores."""
    in_order = sorted(ranks, key=lambda one: one.rank)
    nodes: dict[str, list[KnownRank]] = {}
    for one in in_order:
        nodes.setdefault(one.host, []).append(one)
    numbers = {host: number for number, host in enumerate(nodes)}
    placed = []
    for one in in_order:
        peers = nodes[one.host]
        local_rank = peers.index(one)
        placed.append(
            PlacedRank(
                rank=one.rank,
                host=one.host,
                node_rank=numbers[one.host],
                local_rank=local_rank,
                local_size=len(peers),
                cores=one.cores,
                num_threads=num_threads(one, peers),
                device=one.device(local_rank),
                pid=one.pid,
            )
        )
    return placed


def num_threads(one: KnownRank, peers: Sequence[KnownRank]) -> int:
    """Cores of the affinity mask, divided among the ranks of the node whose masks meet this one; 0 if not known."""
    if not one.cores:
        return 0
    return share_of_cores(one.cores, one.num_cores, [peer.cores for peer in peers])


def rank_environment(rank: PlacedRank, size: int, master: tuple[str, int], given: Mapping[str, str]) -> dict[str, str]:
    """Variables one rank gets; `given` is what the user set, which wins for thread counts."""
    names = {
        "RANK": rank.rank,
        "WORLD_SIZE": size,
        "LOCAL_RANK": rank.local_rank,
        "LOCAL_WORLD_SIZE": rank.local_size,
        "GROUP_RANK": rank.node_rank,
        "MASTER_ADDR": master[0],
        "MASTER_PORT": master[1],
        "DTRAIN_RANK": rank.rank,
        "DTRAIN_WORLD_SIZE": size,
        "DTRAIN_LOCAL_RANK": rank.local_rank,
        "DTRAIN_LOCAL_WORLD_SIZE": rank.local_size,
        "DTRAIN_NODE_RANK": rank.node_rank,
        "DTRAIN_HOST": rank.host,
    }
    return {name: str(value) for name, value in names.items()} | thread_environment(rank.num_threads, given)


def thread_environment(num_threads: int, given: Mapping[str, str]) -> dict[str, str]:
    """Thread counts for the libraries we know. The user's OMP_NUM_THREADS speaks for all of them."""
    count = given.get("OMP_NUM_THREADS") or str(num_threads)
    return {name: given.get(name) or count for name in THREAD_VARIABLES}


def ranges(cores: Sequence[int]) -> str:
    """`0-3,8` for 0, 1, 2, 3, 8."""
    parts: list[list[int]] = []
    for core in sorted(cores):
        if parts and core == parts[-1][-1] + 1:
            parts[-1].append(core)
        else:
            parts.append([core])
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in parts)
