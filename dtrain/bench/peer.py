"""PyTorch as a contestant: a peer, never a dependency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log
from typing import Any

from dtrain.base.errors import LaunchError, expected
from dtrain.base.turns import Samples


def pytorch(benchmark: str, threads: int) -> Any:
    """The module, which computes with so many threads from now on. Raises LaunchError where it is not installed."""
    try:
        import torch
    except ImportError:
        advice = "pip install 'dtrain[peers]'"
        raise LaunchError(expected(benchmark, "PyTorch to compare with", "none", advice)) from None
    torch.set_num_threads(threads)
    return torch


def beside_peer(ours: Samples, peers: Mapping[str, Samples]) -> dict[str, Any]:
    """Fields of a row: against the better of the peer's ways."""
    best = min(peers, key=lambda name: peers[name].median)
    ratio = peers[best].ratio_to(ours)
    return {
        "peer": best,
        "peer_ms": peers[best].median * 1e3,
        "speed_to_peer": ratio.median,
        "ratio_min": ratio.least,
        "ratio_max": ratio.greatest,
    }


def speeds_to_peer(rows: Sequence[Mapping[str, Any]]) -> tuple[dict[str, float], str]:
    """The geometric mean over rows of `beside_peer`, as a fact of the run and as the last line of its table."""
    speeds = [row["speed_to_peer"] for row in rows]
    mean = exp(sum(map(log, speeds)) / len(speeds))
    return {"geometric_mean": mean}, f"geometric mean {mean:.2f}x PyTorch, least {min(speeds):.2f}x"
