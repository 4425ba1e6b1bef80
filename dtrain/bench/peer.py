"""PyTorch as a contestant: a peer, never a dependency."""

from __future__ import annotations

from typing import Any

from dtrain.base.errors import LaunchError, expected


def pytorch(benchmark: str, threads: int) -> Any:
    """The module, which computes with so many threads from now on. Raises LaunchError where it is not installed."""
    try:
        import torch
    except ImportError:
        advice = "pip install 'dtrain[peers]'"
        raise LaunchError(expected(benchmark, "PyTorch to compare with", "none", advice)) from None
    torch.set_num_threads(threads)
    return torch
