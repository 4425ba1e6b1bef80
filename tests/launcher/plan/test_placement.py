"""Node numbers, threads per rank and the variables each rank gets."""

from __future__ import annotations

import pytest

from dtrain.base.rank_info import RankInfo
from dtrain.launcher.plan.placement import (
    THREAD_VARIABLES,
    ReadyRank,
    place,
    ranges,
    rank_environment,
    thread_environment,
)


def ready(rank, host, cores=(0, 1, 2, 3), num_cores=None, devices=()):
    return ReadyRank(
        rank=rank,
        size=4,
        host=host,
        address="10.0.0.1",
        pid=100 + rank,
        cores=tuple(cores),
        num_cores=len(cores) if num_cores is None else num_cores,
        devices=tuple(devices),
    )


def test_nodes_are_numbered_by_their_first_rank():
    placed = place([ready(3, "a"), ready(0, "b"), ready(2, "b"), ready(1, "a")])
    assert [(one.rank, one.host, one.node_rank, one.local_rank, one.local_size) for one in placed] == [
        (0, "b", 0, 0, 2),
        (1, "a", 1, 0, 2),
        (2, "b", 0, 1, 2),
        (3, "a", 1, 1, 2),
    ]


@pytest.mark.parametrize(
    ("ranks", "threads"),
    [
        ([ready(0, "a")], [4]),
        ([ready(0, "a"), ready(1, "a")], [2, 2]),
        ([ready(0, "a"), ready(1, "a"), ready(2, "a")], [1, 1, 1]),
        ([ready(r, "a", cores=(0,)) for r in range(3)], [1, 1, 1]),
        ([ready(0, "a", cores=(0, 1)), ready(1, "a", cores=(2, 3))], [2, 2]),  # bound: nobody shares
        ([ready(0, "a"), ready(1, "b", cores=range(8))], [4, 8]),
        ([ready(0, "a", cores=range(64), num_cores=6), ready(1, "a", cores=range(64), num_cores=6)], [3, 3]),
    ],
)
def test_threads_are_cores_divided_by_those_who_share_them(ranks, threads):
    assert [one.num_threads for one in place(ranks)] == threads


def test_devices():
    placed = place([ready(rank, "a", devices=("4", "7")) for rank in range(3)])
    assert [one.device for one in placed] == ["cuda:0", "cuda:1", "cpu"]


def test_environment_of_a_rank_reads_back():
    placed = place([ready(0, "a"), ready(1, "b"), ready(2, "b")])
    env = rank_environment(placed[2], 3, ("10.0.0.9", 4000), {})
    for names in (env, {name: value for name, value in env.items() if not name.startswith("DTRAIN_")}):
        info = RankInfo.from_environment(names)
        assert (info.rank, info.size, info.local_rank, info.local_size, info.node_rank) == (2, 3, 1, 2, 1)
    assert (env["MASTER_ADDR"], env["MASTER_PORT"], env["DTRAIN_HOST"]) == ("10.0.0.9", "4000", "b")


def test_thread_counts_the_user_set_stay():
    assert thread_environment(3, {}) == dict.fromkeys(THREAD_VARIABLES, "3")
    assert thread_environment(3, {"OMP_NUM_THREADS": "7"}) == dict.fromkeys(THREAD_VARIABLES, "7")
    given = thread_environment(3, {"MKL_NUM_THREADS": "5"})
    assert (given["MKL_NUM_THREADS"], given["OMP_NUM_THREADS"]) == ("5", "3")


@pytest.mark.parametrize(("cores", "text"), [((), ""), ((3,), "3"), ((0, 1, 2, 8), "0-2,8"), ((5, 4), "4-5")])
def test_ranges(cores, text):
    assert ranges(cores) == text
