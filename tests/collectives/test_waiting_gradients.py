"""Gradients that wait under `no_sync`: the next synchronized pass brings the sum of all the means, to every rank."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from helpers.one_process import EAGER_AND_TRACED, Net, batches, check, gradients, mse

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist


@EAGER_AND_TRACED
@pytest.mark.parametrize("micro", [1, 2, 3])
def test_no_sync_gives_the_sum_of_the_means_of_its_passes(micro: int, traced: bool) -> None:
    def step(model: Any, net: Any, part: Any) -> None:
        for i in range(micro):
            if isinstance(model, dist.DataParallel):
                with model.no_sync():
                    mse(model(part(i))).backward()
            else:
                mse(model(part(i))).backward()
        mse(model(part(micro))).backward()

    sizes = [[4, 1], [1, 3], [0, 2], [2, 2]]
    check(step, sizes, traced=traced, build=lambda: Net(norm=False), repeats=2)
    check(step, [*sizes[:2], [3, 2], [2, 1]], traced=traced)


class Sometimes(Net):
    """Uses its first layer only on batches of an odd number of samples."""

    def __init__(self) -> None:
        super().__init__(norm=False)

    def forward(self, x: Any) -> Any:
        return self.last(F.tanh(self.first(x) if len(x) % 2 else x))


@pytest.mark.parametrize("sizes", [[[1, 2], [2, 2]], [[2, 4], [1, 2]], [[2, 2], [4, 2]]])
def test_parameters_that_some_ranks_used_in_a_waiting_pass(sizes: list[list[int]]) -> None:
    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Sometimes()
            model = dist.data_parallel(net)
            for seed, counts in enumerate(sizes):
                begin = sum(counts[: communicator.rank])
                part = dt.tensor(batches(sum(counts), seed)[begin : begin + counts[communicator.rank]])
                with model.no_sync() if seed == 0 else contextlib.nullcontext():
                    mse(model(part)).backward()
            return gradients(net)

    one = Sometimes()
    for seed, counts in enumerate(sizes):
        parts = np.split(batches(sum(counts), seed), np.cumsum(counts)[:-1])
        sum(mse(one(dt.tensor(part))) * (len(part) / sum(counts)) for part in parts).backward()
    for found in dist.run_threads(2, program):
        for name, value in gradients(one).items():
            assert (found[name] is None) == (value is None), name
            if value is not None:
                np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_graph_takes_what_waits_for_parameters_that_never_waited_before() -> None:
    """The last layer waited when it was captured, the first one only later."""

    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Sometimes()
            model = dist.data_parallel(net)
            step = dt.trace(lambda part: mse(model(part)).backward())
            for seed, waiting in enumerate((2, 3)):
                net.zero_grad()
                with model.no_sync():
                    mse(model(part_of(waiting, seed, communicator.rank))).backward()
                step(part_of(3, 10 + seed, communicator.rank))
            return gradients(net)

    def part_of(count: int, seed: int, rank: int) -> Any:
        return dt.tensor(np.split(batches(2 * count, seed), 2)[rank])

    one = Sometimes()
    for seed in (1, 11):
        for rank in range(2):
            (mse(one(part_of(3, seed, rank))) / 2).backward()
    for found in dist.run_threads(2, program):
        for name, value in gradients(one).items():
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_no_sync_is_there_in_a_world_of_one() -> None:
    net = Net()
    with dist.no_sync(net):
        mse(net(dt.tensor(batches(3, 0)))).backward()
    assert net.first.weight.grad is not None
    with pytest.raises(TypeError, match=r"call collectives\.data_parallel"):
        dist.DataParallel(net)
