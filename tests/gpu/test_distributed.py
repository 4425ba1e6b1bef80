"""Two and three ranks on one GPU through NCCL: data-parallel training is that of one process, eager and traced.

NCCL takes the ranks for hosts when each has an NCCL_HOSTID of its own, so that they may share a GPU.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
from helpers.run_ranks import run_ranks

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain import nn

pytestmark = [pytest.mark.gpu, pytest.mark.distributed]

# Where each rank's samples begin and end: uneven, and none for one of three.
SHARDS = {2: [(0, 5), (5, 8)], 3: [(0, 5), (5, 5), (5, 8)]}
TOLERANCE = {"f32": 2e-5, "f64": 1e-10}


def _train(samples: slice, device: str, dtype: str, traced: bool) -> dict[str, np.ndarray]:
    """Three steps of a small network with (sync-)BN; the state afterwards."""
    dt.seed(3)
    model: Any = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 16, 3)
    ).to(dtype)
    model.to(device)
    if dist.is_initialized():
        model = dist.data_parallel(dist.convert_sync_batch_norm(model))
    optimizer = dt.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    random = np.random.default_rng(0)
    x = random.normal(size=(8, 2, 4, 4)).astype({"f32": "f4", "f64": "f8"}[dtype])[samples]
    labels = random.integers(0, 3, 8)[samples]

    def step(x: dt.Tensor, labels: dt.Tensor) -> dt.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    run = dt.trace(step) if traced else step
    for _ in range(3):
        run(dt.tensor(x).to(device), dt.tensor(labels).to(device))
    return {name: tensor.numpy() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("size", SHARDS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("traced", [False, True], ids=["eager", "traced"])
def test_data_parallel_through_nccl_is_one_process(size: int, dtype: str, traced: bool, gpu: str) -> None:
    wanted = _train(slice(None), "cpu", dtype, traced=False)
    states = run_ranks(__file__, "training_program", size, arguments={"dtype": dtype, "traced": traced}, timeout=120)
    for name, right in wanted.items():
        np.testing.assert_allclose(states[0][name], right, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], err_msg=name)
        assert len({state[name].tobytes() for state in states}) == 1, f"{name} differs between ranks"


def training_program(world: Any, dtype: str, traced: bool) -> dict[str, np.ndarray]:
    os.environ |= {"NCCL_HOSTID": f"rank{world.rank}", "NCCL_SOCKET_IFNAME": "lo"}
    state = _train(slice(*SHARDS[world.size][world.rank]), "cuda:0", dtype, traced)
    assert dist.get_communicator(device="cuda:0").counters.collective_calls > 0, "NCCL was not used"
    return state


def test_collectives_of_tensors_on_the_gpu(gpu: str) -> None:
    for rows in run_ranks(__file__, "collectives_program", 2, timeout=120):
        assert rows["weighted_mean"] == pytest.approx([5 / 3, 10], rel=1e-6)
        assert rows["device"] == "cuda:0"


def collectives_program(world: Any) -> dict[str, Any]:
    os.environ |= {"NCCL_HOSTID": f"rank{world.rank}", "NCCL_SOCKET_IFNAME": "lo"}
    x = dt.tensor([1.0 + world.rank, 10.0], device="cuda:0", requires_grad=True)
    mean = dist.weighted_mean(x, 1 + world.rank)
    dist.all_reduce(x).sum().backward()
    assert x.grad is not None and x.grad.numpy().tolist() == [2, 2]
    return {"weighted_mean": mean.tolist(), "device": str(mean.device)}


def test_sources_of_asynchronous_calls_outlive_their_callers(gpu: str) -> None:
    for sums in run_ranks(__file__, "lifetimes_program", 2, timeout=120):
        assert sums == [3.0 * (number + 1) for number in range(50)]


def lifetimes_program(world: Any) -> list[float]:
    """Sources die at once, and their memory is wanted again by the caller's stream while NCCL reads."""
    import cupy

    os.environ |= {"NCCL_HOSTID": f"rank{world.rank}", "NCCL_SOCKET_IFNAME": "lo"}
    comm = dist.get_communicator(device="cuda:0")
    works = []
    for number in range(50):
        works.append(comm.all_reduce_async(cupy.full(1 << 20, (world.rank + 1) * (number + 1), "f4")))
        cupy.full(1 << 20, -1, "f4")
    results = [work.wait() for work in works]
    for result in results:
        assert bool((result == result[0]).all())
    return [float(result[0]) for result in results]
