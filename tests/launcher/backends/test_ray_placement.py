"""Ranks on Ray nodes, without Ray."""

from __future__ import annotations

import pytest

from dtrain.base.errors import LaunchError
from dtrain.launcher.backends.ray_cluster.placement import RankBundle, RayNode, pack_ranks

SMALL, LARGE = RayNode("10.0.0.1", 2, 0), RayNode("10.0.0.2", 4, 0)
GPU = RayNode("10.0.0.3", 8, 2)


@pytest.mark.parametrize(
    ("nodes", "size", "per_node", "counts", "with_gpu"),
    [
        ([SMALL], 2, None, [2], False),
        ([SMALL, LARGE], 3, None, [3], False),
        ([SMALL, LARGE], 6, None, [4, 2], False),
        ([SMALL, LARGE], 4, 2, [2, 2], False),
        ([SMALL, LARGE], 3, 2, [2, 1], False),
        ([GPU], 2, None, [2], True),
        ([GPU], 3, None, [3], False),
        ([GPU, SMALL], 2, None, [2], True),
    ],
)
def test_packing(nodes, size, per_node, counts, with_gpu):
    assert pack_ranks(nodes, size, per_node) == [RankBundle(count, with_gpu) for count in counts]


def test_resources():
    assert RankBundle(2, False).resources == {"CPU": 2}
    assert RankBundle(2, True).resources == {"CPU": 2, "GPU": 2}


@pytest.mark.parametrize(
    ("nodes", "size", "per_node", "message"),
    [
        ([SMALL], 3, None, "expected 3 CPUs for 3 ranks, got 10.0.0.1: 2 CPUs, 0 GPUs; add 1 CPUs or lower -np"),
        ([], 1, None, "got no node"),
        ([SMALL, LARGE], 6, 3, "expected 2 nodes with 3 CPUs each"),
    ],
)
def test_what_is_missing(nodes, size, per_node, message):
    with pytest.raises(LaunchError) as caught:
        pack_ranks(nodes, size, per_node)
    assert message in str(caught.value)
