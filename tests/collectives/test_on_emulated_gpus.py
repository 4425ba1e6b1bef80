"""Training and collectives of tensors on GPUs: all that talks for a tensor goes through the communicator of its device.

Two ranks are threads, each with an emulated GPU of its own; the stand-in for NCCL's communicator refuses host arrays
and hands copies to the ranks' host communicator. NCCL itself is the business of tests/gpu.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.cuda_emulation import emulated_module
from helpers.cuda_emulation.emulated_cupy import emulated_cuda

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain import nn
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.transports.thread_communicator import run_threads
from dtrain.collectives.world import context

sys.path.insert(0, str(Path(__file__).parent))

from from_host import FromHost

pytestmark = pytest.mark.emulation


def _to_host(array: Any) -> np.ndarray:
    assert not isinstance(array, np.ndarray), "a host array at the communicator of a GPU"
    return array.get()


class OnDevice(FromHost):
    """What `get_communicator(device=...)` gives: takes arrays of one GPU, and no others."""

    def __init__(self, communicator: Communicator, index: int) -> None:
        import cupy

        def to_gpu(array: np.ndarray) -> Any:
            with cupy.cuda.Device(index):
                return cupy.asarray(array)

        super().__init__(communicator, _to_host, to_gpu)
        self.index = index

    def _is_array(self, value: Any) -> bool:
        assert not isinstance(value, np.ndarray), "a host array at the communicator of a GPU"
        if hasattr(value, "__cuda_array_interface__"):
            assert value.device.id == self.index
            return True
        return False


@pytest.fixture(autouse=True)
def _emulated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if emulated_module.COMPILER is None:
        pytest.skip("no host C++ compiler to run the CUDA sources with")
    monkeypatch.setattr(context, "_on_cuda", OnDevice)
    with emulated_cuda():
        yield


def _train(device: str, samples: slice) -> list[np.ndarray]:
    dt.seed(3)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(device)
    if dist.is_initialized():
        model = dist.data_parallel(model)
    optimizer = dt.optim.SGD(model.parameters(), lr=0.1)
    x = dt.tensor(np.random.default_rng(0).normal(size=(6, 4)).astype("f4")[samples]).to(device)
    labels = dt.tensor(np.array([0, 1, 2, 0, 1, 2])[samples]).to(device)
    for _ in range(2):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
    return [parameter.numpy() for parameter in model.parameters()]


def test_data_parallel_of_a_model_on_gpus_is_one_process() -> None:
    wanted = _train("cpu", slice(None))

    def program(world: Communicator) -> list[np.ndarray]:
        return _train(f"cuda:{world.rank}", (slice(0, 4), slice(4, 6))[world.rank])

    for arrays in run_threads(2, program):
        for got, right in zip(arrays, wanted, strict=True):
            np.testing.assert_allclose(got, right, rtol=1e-5, atol=1e-6)


def test_collectives_of_tensors_stay_on_their_gpu() -> None:
    def program(world: Communicator) -> None:
        device = f"cuda:{world.rank}"
        x = dt.tensor([1.0 + world.rank, 10.0], device=device, requires_grad=True)
        for name, result in {
            "all_reduce": dist.all_reduce(x),
            "all_gather": dist.all_gather(x),
            "reduce_scatter": dist.reduce_scatter(x),
            "broadcast": dist.broadcast(x, root=1),
            "all_to_all": dist.all_to_all(x),
            "weighted_mean": dist.weighted_mean(x, 1 + world.rank),
        }.items():
            assert str(result.device) == device, name
        np.testing.assert_allclose(dist.weighted_mean(x, 1 + world.rank).numpy(), [5 / 3, 10], rtol=1e-6)
        dist.all_reduce(x).sum().backward()
        assert str(x.grad.device) == device
        np.testing.assert_array_equal(x.grad.numpy(), [2, 2])

    run_threads(2, program)
