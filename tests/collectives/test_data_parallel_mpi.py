"""Data-parallel steps on real ranks: the same gradients as one process, whatever carries the messages."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[1])]

from helpers.one_process import Net, batches, gradients, mse  # noqa: E402
from helpers.run_ranks import run_ranks  # noqa: E402

import dtrain as dt  # noqa: E402
import dtrain.functional as F  # noqa: E402
from dtrain import collectives as dist  # noqa: E402

WIDE = 320  # a weight of 800 KiB in f64: reduced where it lies in shared memory


class Wide(Net):
    def __init__(self) -> None:
        super().__init__()
        self.wide = dt.nn.Parameter(dt.tensor(np.random.default_rng(1).standard_normal((WIDE, WIDE)) / WIDE))

    def forward(self, x: Any) -> Any:
        return super().forward(x) + F.matmul(F.matmul(dt.tensor(np.ones((x.shape[0], WIDE))), self.wide), self._out())

    def _out(self) -> Any:
        return dt.tensor(np.ones((WIDE, 2)) / WIDE)


def step(model: Any, net: Any, x: Any) -> None:
    net.zero_grad()
    (mse(model(x)) + 0.1 * sum(F.square(p).sum() for p in net.parameters())).backward()


def program(communicator: Any, sizes: list[int], traced: bool, messages: bool) -> dict[str, Any]:
    from mpi4py import MPI

    from dtrain.collectives.transports.mpi_world import make_mpi_communicator

    world = (
        make_mpi_communicator(MPI.COMM_WORLD.Dup(), transport="mpi_messages", timeout=30.0)
        if messages
        else communicator
    )
    with dist.using(world):
        net = dist.convert_sync_batch_norm(Wide())
        model = dist.data_parallel(net)
        begin = sum(sizes[: world.rank])
        part = dt.tensor(batches(sum(sizes), 0)[begin : begin + sizes[world.rank]])
        run = dt.trace(lambda x: step(model, net, x)) if traced else lambda x: step(model, net, x)
        with np.errstate(all="ignore"):
            for _ in range(2):
                run(part)
        found = {name: value.tolist() for name, value in gradients(net).items() if value is not None}
    if messages:
        world.close()
    return found


@pytest.mark.parametrize(("sizes", "traced", "messages"), [([3, 1, 2], True, False), ([4, 0], True, True)])
def test_gradients_are_those_of_one_process(sizes: list[int], traced: bool, messages: bool) -> None:
    one = Wide()
    step(one, one, dt.tensor(batches(sum(sizes), 0)))
    arguments = {"sizes": sizes, "traced": traced, "messages": messages}
    results = run_ranks(__file__, "program", len(sizes), arguments=arguments)
    for name, value in gradients(one).items():
        for found in results:
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
            assert found[name] == results[0][name], f"{name} differs between ranks"
