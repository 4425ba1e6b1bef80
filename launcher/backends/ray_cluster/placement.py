"""How many ranks go on each Ray node, and what is missing when they do not fit. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dtrain.base.errors import LaunchError, expected


@dataclass(frozen=True, slots=True)
class RayNode:
    """A node's address and its totals."""

    address: str
    num_cpus: int
    num_gpus: int


@dataclass(frozen=True, slots=True)
class RankBundle:
    """Ranks to be reserved on one node: a CPU each, and a GPU each where the cluster has enough of them."""

    count: int
    with_gpu: bool

    @property
    def resources(self) -> dict[str, int]:
        return {"CPU": self.count} | ({"GPU": self.count} if self.with_gpu else {})


def pack_ranks(nodes: Sequence[RayNode], size: int, nproc_per_node: int | None = None) -> list[RankBundle]:
    """Fill the largest nodes first. Raises `LaunchError` saying what is missing."""
    with_gpu = sum(node.num_gpus for node in nodes) >= size
    rooms = sorted((_room(node, with_gpu) for node in nodes), reverse=True)
    if nproc_per_node is not None:
        return _evenly(nodes, rooms, size, nproc_per_node, with_gpu)
    bundles = []
    left = size
    for room in rooms:
        count = min(room, left)
        if count:
            bundles.append(RankBundle(count, with_gpu))
            left -= count
    if left:
        raise LaunchError(_missing(nodes, f"{size} CPUs for {size} ranks", f"add {left} CPUs or lower -np"))
    return bundles


def _evenly(
    nodes: Sequence[RayNode], rooms: Sequence[int], size: int, nproc_per_node: int, with_gpu: bool
) -> list[RankBundle]:
    fitting = sum(1 for room in rooms if room >= nproc_per_node)
    counts = [nproc_per_node] * (size // nproc_per_node) + ([size % nproc_per_node] if size % nproc_per_node else [])
    if fitting < len(counts):
        wanted = f"{len(counts)} nodes with {nproc_per_node} CPUs each"
        raise LaunchError(_missing(nodes, wanted, "add nodes, or lower -np or --nproc-per-node"))
    return [RankBundle(count, with_gpu) for count in counts]


def _room(node: RayNode, with_gpu: bool) -> int:
    return min(node.num_cpus, node.num_gpus) if with_gpu else node.num_cpus


def _missing(nodes: Sequence[RayNode], wanted: str, advice: str) -> str:
    have = ", ".join(f"{node.address}: {node.num_cpus} CPUs, {node.num_gpus} GPUs" for node in nodes) or "no node"
    return expected("Ray cluster", wanted, have, advice)
