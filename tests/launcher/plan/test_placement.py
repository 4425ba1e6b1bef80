"""Node numbers, threads per rank and the variables each rank gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dtrain.base.rank_info import RankInfo
from dtrain.launcher.command.flags import parse_run
from dtrain.launcher.plan.launch_plan import Machine, planned_ranks
from dtrain.launcher.plan.placement import (
    THREAD_VARIABLES,
    KnownRank,
    place,
    ranges,
    rank_environment,
    thread_environment,
)


def ready(rank, host, cores=(0, 1, 2, 3), num_cores=None, devices=()):
    return KnownRank(
        rank=rank,
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


@pytest.mark.parametrize(
    "arguments", [("-np", "3"), ("-H", "here:2,b:1"), ("-H", "b:1,localhost:2"), ("-H", "b:2,here:1,localhost:1")]
)
def test_a_plan_and_its_job_place_ranks_alike(arguments):
    """The plan knows nothing of other hosts; all else is what the supervisors' reports make of it."""
    spec = parse_run([*arguments, "train.py"], {})
    machine = Machine(host="here", cores=(0, 1, 2, 3), num_cores=4, devices=("0",), python="python", is_root=False)
    planned = planned_ranks(spec, machine)
    run = place([ready(one.rank, one.host, devices=("0",)) for one in planned])
    assert [one.rank for one in planned] == list(range(spec.world_size))
    for before, after in zip(planned, run):
        known = before if before.host == "here" else replace(before, cores=after.cores, device=after.device)
        num_threads = before.num_threads if before.host == "here" else after.num_threads
        assert replace(known, num_threads=num_threads) == replace(after, pid=0)
        assert before.host == "here" or (before.cores, before.device, before.num_threads) == ((), "", 0)
