"""Cores of this process, and their share for a rank."""

from __future__ import annotations

import os

import pytest

from dtrain.base.cores import share_of_cores, usable_cores


def test_usable_cores():
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("mine", "num_cores", "masks", "threads"),
    [
        (range(8), 8, [range(8)] * 2, 4),
        (range(8), 8, [range(8)] * 3, 2),
        (range(8), 3, [range(8)], 3),  # a quota
        ([0], 8, [[0], [1]], 1),  # bound
        (range(4), 8, [range(4), range(4, 8)], 4),  # masks that do not meet
        (range(2), 2, [range(2)] * 5, 1),
    ],
)
def test_share(mine, num_cores, masks, threads):
    assert share_of_cores(mine, num_cores, masks) == threads
