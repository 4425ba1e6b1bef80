"""Horovod's words on several ranks: averages over ranks, broadcasts in place, an optimizer that averages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers.thread_ranks import draw
from helpers.thread_ranks import on_ranks as on_threads

import dtrain as dt
import dtrain.collectives.horovod as hvd
from dtrain import nn, optim
from dtrain.base.errors import LayoutError


def on_ranks(size: int, program: Callable[[int, int], Any]) -> list[Any]:
    def begun(rank: int, size: int) -> Any:
        hvd.init()
        assert (hvd.rank(), hvd.size()) == (rank, size)
        return program(rank, size)

    return on_threads(size, begun)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_tensors(size: int) -> None:
    def program(rank: int, size: int) -> None:
        x = dt.tensor(draw(rank, 3))
        mean = np.mean([draw(other, 3) for other in range(size)], 0)
        np.testing.assert_allclose(hvd.allreduce(x, name="x").numpy(), mean, rtol=1e-12)
        np.testing.assert_array_equal(x.numpy(), draw(rank, 3))
        np.testing.assert_allclose(hvd.allreduce(x, average=False).numpy(), mean * size, rtol=1e-12)
        np.testing.assert_allclose(hvd.allreduce(x, op=hvd.Sum).numpy(), mean * size, rtol=1e-12)
        hvd.synchronize(hvd.allreduce_async_(x))
        y = dt.tensor([float(rank)])
        assert hvd.synchronize(hvd.allreduce_async(y, op=hvd.Sum)).item() == size * (size - 1) / 2
        assert y.item() == rank
        np.testing.assert_allclose(x.numpy(), mean, rtol=1e-12)
        assert hvd.allreduce_(dt.tensor([float(rank)])).item() == (size - 1) / 2
        uneven = hvd.allgather(dt.tensor(draw(rank, rank, 2)))
        np.testing.assert_array_equal(uneven.numpy(), np.concatenate([draw(other, other, 2) for other in range(size)]))
        assert hvd.broadcast(dt.tensor(rank), root_rank=size - 1).item() == size - 1
        assert hvd.broadcast_object(rank, root_rank=0) == 0
        assert hvd.allgather_object(rank) == list(range(size))
        with pytest.raises(ValueError, match="average or op"):
            hvd.allreduce(x, average=True, op=hvd.Sum)

    on_ranks(size, program)


def train(rank: int, size: int, *, traced: bool, clip: bool, batches: int = 3) -> tuple[Any, Any]:
    """Three steps; everybody begins from its own numbers and gets those of rank 0."""
    dt.default_generator().seed(7 + rank)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    unused = nn.Parameter(dt.zeros(2, dtype="f64"))
    optimizer = optim.SGD([*model.parameters(), unused], lr=0.1, momentum=0.9)
    optimizer = hvd.DistributedOptimizer(optimizer, named_parameters=model.named_parameters())
    assert isinstance(optimizer, optim.SGD) and repr(optimizer).startswith("SGD(")
    hvd.broadcast_parameters(model.state_dict(), root_rank=0)
    hvd.broadcast_optimizer_state(optimizer, root_rank=0)
    schedule = optim.StepLR(optimizer, 2)

    def step(x: dt.Tensor) -> dt.Tensor:
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        if clip:
            optimizer.synchronize()
            optim.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        return loss

    call = dt.trace(step) if traced else step
    for batch in range(batches):
        call(dt.tensor(np.stack([draw(10 * batch + r, 6, 4) for r in range(size)])[rank]))
        schedule.step()
    return [p.numpy().copy() for p in model.parameters()], unused.numpy()


def alone(size: int, *, clip: bool) -> list[np.ndarray]:
    """The same steps in one process: the ranks' batches are equally long, so one batch has the same mean."""
    dt.default_generator().seed(7)
    model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    schedule = optim.StepLR(optimizer, 2)
    for batch in range(3):
        optimizer.zero_grad()
        x = dt.tensor(np.concatenate([draw(10 * batch + r, 6, 4) for r in range(size)]))
        (model(x) ** 2).mean().backward()
        if clip:
            optim.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        schedule.step()
    return [p.numpy() for p in model.parameters()]


@pytest.mark.parametrize("clip", [False, True])
@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_an_optimizer_trains_as_one_process(size: int, traced: bool, clip: bool) -> None:
    results = on_ranks(size, lambda rank, size: train(rank, size, traced=traced, clip=clip))
    for parameters, unused in results:
        for got, first, wanted in zip(parameters, results[0][0], alone(size, clip=clip)):
            np.testing.assert_array_equal(got, first)
            np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
        assert not unused.any()


def test_a_gradient_that_one_rank_lacks_counts_as_zero() -> None:
    def program(rank: int, size: int) -> tuple[float, float]:
        w = nn.Parameter(dt.tensor([0.0], dtype="f64"))
        v = nn.Parameter(dt.tensor([0.0], dtype="f64"))
        optimizer = hvd.DistributedOptimizer(optim.SGD([w, v], lr=1.0))
        (w * 3.0 if rank == 1 else v * 5.0).sum().backward()
        optimizer.step()
        return w.item(), v.item()

    assert on_ranks(3, program) == [(-1.0, -10 / 3)] * 3


def test_laid_out_gradients_are_refused() -> None:
    """Each rank may have laid out its own, and sums are those of what lies where."""

    def program(rank: int, size: int) -> None:
        p = dt.Parameter(dt.ones((2, 2, 2, 2)).relayout("NHWC"))
        optimizer = hvd.DistributedOptimizer(dt.optim.SGD([p], lr=0.1))
        p.grad = dt.ones((2, 2, 2, 2)).relayout("NHWC")
        with pytest.raises(LayoutError, match="all_reduce_many: expected tensors in the plain layout"):
            optimizer.step()

    on_ranks(2, program)


def test_compression_is_refused_and_words_that_are_not_here_are_said() -> None:
    class Fp16:
        pass

    def program(rank: int, size: int) -> None:
        with pytest.raises(ValueError, match="no compression"):
            hvd.allreduce(dt.zeros(2), compression=Fp16)
        assert hvd.allreduce(dt.zeros(2), compression=hvd.Compression.none).shape == (2,)

    on_ranks(1, program)
    with pytest.raises(AttributeError, match="save_checkpoint"):
        _ = hvd.elastic


@pytest.mark.parametrize("size", [1, 2, 3])
def test_factors_scale_before_and_after(size: int) -> None:
    def program(rank: int, size: int) -> None:
        x = draw(rank, 3)
        rows = np.stack([draw(other, 3) for other in range(size)])
        result = hvd.allreduce(dt.tensor(x), op=hvd.Max, prescale_factor=-2.0, postscale_factor=0.5)
        np.testing.assert_allclose(result.numpy(), (rows * -2.0).max(0) * 0.5, rtol=1e-12)
        tensor = dt.tensor(x)
        hvd.allreduce_(tensor, op=hvd.Sum, postscale_factor=3.0)
        np.testing.assert_allclose(tensor.numpy(), rows.sum(0) * 3, rtol=1e-12)
        tensor = dt.tensor(x)
        hvd.synchronize(hvd.allreduce_async_(tensor, prescale_factor=4.0))
        np.testing.assert_allclose(tensor.numpy(), rows.mean(0) * 4, rtol=1e-12)
        with pytest.raises(ValueError, match=r"multiply after hvd\.synchronize"):
            hvd.allreduce_async_(tensor, postscale_factor=2.0)
        with pytest.raises(TypeError, match="floats to scale"):
            hvd.allreduce(dt.tensor([1]), prescale_factor=2.0)
        with pytest.raises(ValueError, match="new_group"):
            hvd.allreduce(tensor, process_set="half")

    on_ranks(size, program)


def test_a_step_inside_of_skip_synchronize_reduces_nothing() -> None:
    def program(rank: int, size: int) -> list[float]:
        p = nn.Parameter(dt.tensor([0.0]))
        optimizer = hvd.DistributedOptimizer(optim.SGD([p], lr=1.0), gradient_predivide_factor=2.0)
        p.grad = dt.tensor([float(rank)])
        with optimizer.skip_synchronize():
            optimizer.step()
        alone = p.item()
        p.grad = dt.tensor([float(rank)])
        optimizer.synchronize()
        with optimizer.skip_synchronize():
            optimizer.step()
        together = p.item() - alone
        p.grad = dt.tensor([float(rank)])
        optimizer.step()
        return [alone, together, p.item() - alone - together]

    assert on_ranks(2, program) == [[-float(rank), -0.5, -0.5] for rank in range(2)]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_gradients_of_collectives_are_averages(size: int) -> None:
    """Rank r weighs what it gets by r + 1: the average of the weights comes back, on uneven parts too."""

    def program(rank: int, size: int) -> None:
        mean = (size + 1) / 2
        rows = dt.tensor(draw(rank, rank + 1, 2), requires_grad=True)
        (hvd.allgather(rows) * (rank + 1)).sum().backward()
        np.testing.assert_allclose(rows.grad.numpy(), np.full((rank + 1, 2), mean), rtol=1e-12)
        for call in (hvd.allreduce, lambda x: hvd.broadcast(x, root_rank=size - 1)):
            x = dt.tensor(draw(rank, 3), requires_grad=True)
            (call(x) * (rank + 1)).sum().backward()
            everywhere = call is hvd.allreduce or rank == size - 1
            np.testing.assert_allclose(x.grad.numpy(), np.full(3, mean if everywhere else 0.0), rtol=1e-12)
        numbers = hvd.allgather(dt.tensor([rank]))
        assert numbers.tolist() == list(range(size)) and not numbers.requires_grad

    on_ranks(size, program)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_frozen_parameters_stay_as_they_are(size: int, traced: bool) -> None:
    """Weight decay and momentum would move a frozen layer that counted as one with a gradient of zeros."""

    def program(rank: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        dt.manual_seed(3)
        model = nn.Sequential(nn.Linear(4, 5), nn.Linear(5, 2)).double()
        model[0].requires_grad_(False)
        kept = model[0].weight.numpy().copy()
        settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}
        optimizer = hvd.DistributedOptimizer(optim.SGD(model.parameters(), **settings))
        hvd.broadcast_optimizer_state(optimizer)

        def step(x: dt.Tensor) -> dt.Tensor:
            optimizer.zero_grad()
            loss = (model(x) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        run = dt.trace(step) if traced else step
        for batch in range(2):
            run(dt.tensor(np.random.default_rng(batch).standard_normal((6, 4))[rank::size]))
        np.testing.assert_array_equal(model[0].weight.numpy(), kept)
        assert model[0].weight.grad is None
        return model[1].weight.numpy()

    results = on_ranks(size, program)
    alone = on_ranks(1, program)[0]
    for result in results:
        np.testing.assert_allclose(result, alone, rtol=1e-9)


def test_compression_says_what_to_do() -> None:
    assert hvd.Compression.none is None
    with pytest.raises(AttributeError, match=r"hvd\.Compression: expected none, got fp16; there is no compression"):
        hvd.Compression.fp16
