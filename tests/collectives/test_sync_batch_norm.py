"""Sync-BN on ranks is batch norm on one process with all samples: values, running statistics, every gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import dtrain as dt
from dtrain import collectives as dist
from dtrain.nn.batch_norm import BatchNorm1d, BatchNorm2d, SyncBatchNorm
from dtrain.nn.module import Module

CHANNELS = 4
STEPS = 3


def draw(count: int, *, offset: float = 2.3, seed: int = 0, dtype: str = "f64") -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (offset + rng.standard_normal((count, CHANNELS, 3, 2))).astype(dt.dtype(dtype).numpy)


def run_layer(layer: Module, parts: list[np.ndarray], weights: list[np.ndarray], *, traced: bool) -> dict[str, Any]:
    """Steps of y = layer(x), loss = Σ weight·y, on this rank's parts; the last step's results."""

    def step(x: dt.Tensor, weight: dt.Tensor) -> tuple[dt.Tensor, dt.Tensor]:
        x.requires_grad_()
        y = layer(x)
        layer.weight.grad = layer.bias.grad = None
        (dx,) = dt.grad((y * weight).sum(), x, retain_graph=True)
        (y * weight).sum().backward()
        return y, dx

    run = dt.trace(step) if traced else step
    for x, weight in zip(parts, weights):
        y, dx = run(dt.tensor(x), dt.tensor(weight))
    return {
        "y": y.numpy(),
        "dx": dx.numpy(),
        "dw": layer.weight.grad.numpy().copy(),
        "db": layer.bias.grad.numpy().copy(),
        "mean": layer.running_mean.numpy().copy(),
        "var": layer.running_var.numpy().copy(),
    }


def prepared(layer: Any, dtype: str) -> Any:
    rng = np.random.default_rng(9)
    layer = layer.to(dtype)
    layer.weight.assign_(dt.tensor(rng.standard_normal(CHANNELS), dtype=dtype))
    layer.bias.assign_(dt.tensor(rng.standard_normal(CHANNELS), dtype=dtype))
    return layer


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("offset", [2.3, 1e4])
@pytest.mark.parametrize("sizes", [[3], [4, 4], [1, 6], [5, 0, 2], [2, 1, 1, 3], [0, 3, 0, 1, 2]])
def test_ranks_together_equal_one_process(sizes: list[int], offset: float, traced: bool) -> None:
    edges = np.cumsum([0, *sizes])
    whole = [draw(edges[-1], offset=offset, seed=step) for step in range(STEPS)]
    weights = [draw(edges[-1], offset=0, seed=50 + step) for step in range(STEPS)]
    wanted = run_layer(prepared(BatchNorm2d(CHANNELS), "f64"), whole, weights, traced=False)

    def program(communicator: Any) -> dict[str, Any]:
        with dist.using(communicator):
            mine = slice(edges[communicator.rank], edges[communicator.rank + 1])
            layer = prepared(SyncBatchNorm(CHANNELS), "f64")
            return run_layer(layer, [x[mine] for x in whole], [w[mine] for w in weights], traced=traced)

    results = dist.run_threads(len(sizes), program)
    tolerance = {"rtol": 1e-9, "atol": 1e-9} if offset < 10 else {"rtol": 1e-7, "atol": 1e-6}
    for name in ("y", "dx"):
        np.testing.assert_allclose(np.concatenate([r[name] for r in results]), wanted[name], **tolerance)
    for name in ("dw", "db"):
        np.testing.assert_allclose(sum(r[name] for r in results), wanted[name], **tolerance, err_msg=name)
    for result in results:
        for name in ("mean", "var"):
            np.testing.assert_allclose(result[name], wanted[name], **tolerance, err_msg=name)
            assert result[name].tobytes() == results[0][name].tobytes(), f"{name} differs between ranks"


@pytest.mark.parametrize("traced", [False, True])
def test_gradients_that_are_averaged_by_hand(traced: bool) -> None:
    """Without data_parallel, as Horovod's optimizer does it: every parameter alike, γ and β too."""
    whole = draw(6)

    def program(communicator: Any) -> list[np.ndarray]:
        with dist.using(communicator):
            layer = prepared(SyncBatchNorm(CHANNELS), "f64")
            scale = dt.nn.Parameter(dt.tensor(np.ones(CHANNELS)))

            def step(x: dt.Tensor) -> list[dt.Tensor]:
                dt.functional.square(layer(x * scale.reshape(1, -1, 1, 1)) - 0.5).mean().backward()
                return [dist.all_reduce(p.grad, op="mean") for p in (layer.weight, layer.bias, scale)]

            part = dt.tensor(whole[2 * communicator.rank :][:2])
            return [g.numpy().copy() for g in (dt.trace(step) if traced else step)(part)]

    layer, scale = prepared(BatchNorm2d(CHANNELS), "f64"), dt.nn.Parameter(dt.tensor(np.ones(CHANNELS)))
    dt.functional.square(layer(dt.tensor(whole) * scale.reshape(1, -1, 1, 1)) - 0.5).mean().backward()
    for found in dist.run_threads(3, program):
        for mine, parameter in zip(found, (layer.weight, layer.bias, scale)):
            np.testing.assert_allclose(mine, parameter.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_the_control_differs() -> None:
    """Plain batch norm on halves of the batch is something else, or the test above says nothing."""
    whole, weight = draw(8), draw(8, offset=0, seed=50)
    together = run_layer(prepared(BatchNorm2d(CHANNELS), "f64"), [whole], [weight], traced=False)
    half = run_layer(prepared(BatchNorm2d(CHANNELS), "f64"), [whole[:4]], [weight[:4]], traced=False)
    assert np.abs(half["y"] - together["y"][:4]).max() > 1e-2


def test_two_messages_a_step_and_none_in_evaluation() -> None:
    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            layer = prepared(SyncBatchNorm(CHANNELS), "f32")
            x = dt.tensor(draw(3, seed=communicator.rank, dtype="f32"), requires_grad=True)
            layer(x).sum().backward()
            counted = communicator.counters.as_dict()
            layer.eval()
            layer(x)
            return counted, communicator.counters.as_dict()

    for counted, after_evaluation in dist.run_threads(2, program):
        assert {kind: count["calls"] for kind, count in counted.items()} == {"all_gather": 1, "all_reduce": 1}
        assert counted["all_gather"]["nbytes"] == 4 * (2 * CHANNELS + 1)
        assert counted["all_reduce"]["nbytes"] == 4 * 2 * CHANNELS
        assert after_evaluation == counted


class Nested(Module):
    def __init__(self) -> None:
        self.direct = BatchNorm2d(CHANNELS)
        self.in_list = [BatchNorm1d(CHANNELS), {"x": (BatchNorm2d(CHANNELS), 3)}]
        self.shared = self.direct


def test_convert_reaches_every_layer_and_shares_its_tensors() -> None:
    root = Nested()
    before = dict(root.named_parameters()), dict(root.named_buffers())
    assert dist.convert_sync_batch_norm(root) is root
    layers = [module for module in root.modules() if isinstance(module, BatchNorm1d | BatchNorm2d | SyncBatchNorm)]
    assert len(layers) == 3 and all(isinstance(layer, SyncBatchNorm) for layer in layers)
    assert root.shared is root.direct
    after = dict(root.named_parameters()), dict(root.named_buffers())
    for old, new in zip(before, after):
        assert old.keys() == new.keys() and all(old[name] is new[name] for name in old)


def test_a_layer_alone_is_converted_and_a_converted_one_stays() -> None:
    layer = dist.convert_sync_batch_norm(BatchNorm2d(CHANNELS))
    assert isinstance(layer, SyncBatchNorm)
    assert dist.convert_sync_batch_norm(layer) is layer


def test_a_layer_in_evaluation_mode_gets_its_gradients_averaged_like_any_other() -> None:
    """Fine-tuning with frozen statistics, after training steps that had made γ and β gradients global."""
    x = draw(5)

    def gradients_of(layer: Any, part: np.ndarray, model: Any) -> list[np.ndarray]:
        dt.functional.square(model(dt.tensor(part))).mean().backward()
        layer.zero_grad()
        layer.eval()
        dt.functional.square(model(dt.tensor(part))).mean().backward()
        return [layer.weight.grad.numpy().copy(), layer.bias.grad.numpy().copy()]

    def program(communicator: Any) -> list[np.ndarray]:
        with dist.using(communicator):
            layer = prepared(SyncBatchNorm(CHANNELS), "f64")
            return gradients_of(layer, (x[:2], x[2:])[communicator.rank], dist.data_parallel(layer))

    alone = prepared(BatchNorm2d(CHANNELS), "f64")
    wanted = gradients_of(alone, x, alone)
    for found in dist.run_threads(2, program):
        for mine, other in zip(found, wanted):
            np.testing.assert_allclose(mine, other, rtol=1e-9)


def test_gradients_of_weight_and_bias_lie_in_the_buckets() -> None:
    class Net(Module):
        def __init__(self) -> None:
            self.norm = BatchNorm2d(CHANNELS)

        def forward(self, x: dt.Tensor) -> dt.Tensor:
            return self.norm(x)

    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            model = dist.data_parallel(dist.convert_sync_batch_norm(Net()))

            @dt.trace
            def step(x: dt.Tensor) -> dt.Tensor:
                loss = dt.functional.square(model(x)).mean()
                loss.backward()
                return loss

            step(dt.tensor(draw(2 + communicator.rank, dtype="f32")))
            labels = [label for bucket in dist.bucket_plan(step.graphs[0]) for label in bucket.labels]
            gradient = model.module.norm.weight.grad
            names = [node.op.name for node in step.graphs[0].nodes]
            assert not {"copy", "div", "slice"} & set(names), "the sums are computed in the bucket"
            return labels, gradient.numpy().copy()

    results = dist.run_threads(2, program)
    for labels, gradient in results:
        assert labels == ["norm.bias", "norm.weight"]
        assert gradient.tobytes() == results[0][1].tobytes()


def test_statistics_have_a_lane_of_their_own() -> None:
    """A bucket of gradients that is under way, and that another rank has not begun, holds no layer up."""

    def program(communicator: Any) -> None:
        with dist.using(communicator):
            layer = prepared(SyncBatchNorm(CHANNELS), "f32")
            layer(dt.tensor(draw(3, seed=communicator.rank, dtype="f32")))  # which opens the lane
            bucket = np.full(100_000, communicator.rank, np.float32)
            work = communicator.all_reduce_async(bucket) if communicator.rank == 0 else None
            layer(dt.tensor(draw(3, seed=communicator.rank, dtype="f32"))).sum().backward()
            work = work or communicator.all_reduce_async(bucket)
            assert work.wait(20)[0] == 1
            assert communicator.groups["world statistics"].calls_made == 3

    dist.run_threads(2, program)
