"""Buffers that a data-parallel model writes: running statistics of plain batch norm, moving averages, counters."""

from __future__ import annotations

from typing import Any

import numpy as np
from helpers.one_process import EAGER_AND_TRACED, FEATURES, Net, batches, mse

import dtrain as dt
from dtrain import collectives as dist
from dtrain import nn


class Counting(Net):
    """Plain batch norm, and buffers that forward changes: a moving average and a number of calls."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", dt.zeros((FEATURES,), dtype="f64"))
        self.register_buffer("calls", dt.zeros((), dtype="s64"))
        self.register_buffer("constant", dt.tensor(np.arange(3.0)))

    def forward(self, x: Any) -> Any:
        if self.training:
            self.average.assign_(self.average * 0.9 + x.detach().sum(0) * 0.1)
            self.calls.assign_(self.calls + 1)
        return super().forward(x)


@EAGER_AND_TRACED
def test_buffers_that_a_call_writes_become_those_of_rank_0(traced: bool) -> None:
    whole = batches(7, 0)
    edges = [(0, 3), (3, 5), (5, 7)]

    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Counting()
            model = dist.data_parallel(net)
            begin, end = edges[communicator.rank]

            def step(x: Any) -> None:
                net.zero_grad()
                mse(model(x)).backward()

            run = dt.trace(step) if traced else step
            for _ in range(2):
                run(dt.tensor(whole[begin:end]))
            calls = communicator.counters.calls
            net.eval()
            with dt.no_grad():
                model(dt.tensor(whole[begin:end]))
            assert communicator.counters.calls == calls, "evaluation sends nothing"
            return {name: buffer.numpy().copy() for name, buffer in net.named_buffers()}

    alone = Counting()
    for _ in range(2):
        mse(alone(dt.tensor(whole[:3]))).backward()
    results = dist.run_threads(3, program)
    for name, buffer in alone.named_buffers():
        np.testing.assert_allclose(results[0][name], buffer.numpy(), rtol=1e-12)
        assert len({found[name].tobytes() for found in results}) == 1, name


def test_counts_of_batches_need_no_message_and_are_equal_beside_empty_batches() -> None:
    def program(communicator: Any) -> tuple[int, list[int]]:
        with dist.using(communicator):
            net = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 3), nn.BatchNorm1d(3))
            model = dist.data_parallel(net)
            calls = communicator.counters.calls
            with dt.no_grad():
                for _ in range(2):
                    model(dt.ones(2 * communicator.rank, 3))
            return communicator.counters.calls - calls, [net[at].num_batches_tracked.item() for at in (0, 2)]

    assert dist.run_threads(3, program) == [(2, [2, 2])] * 3  # the running values of each call, together


def test_buffers_of_sync_bn_need_no_message() -> None:
    def program(communicator: Any) -> int:
        with dist.using(communicator):
            model = dist.data_parallel(dist.convert_sync_batch_norm(Net()))
            calls = communicator.counters.calls
            with dt.no_grad():
                model(dt.tensor(batches(3, communicator.rank)))
            return communicator.counters.calls - calls

    assert dist.run_threads(2, program) == [1, 1]  # its statistics
