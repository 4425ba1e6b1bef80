"""Horovod's grouped calls and its exchanges of rows, every rank with other data, traced and eager, with gradients."""

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
from dtrain.base.errors import ShapeError, TraceError

SIZES = [1, 2, 3, 5]


def on_ranks(size: int, program: Callable[[int, int], Any]) -> list[Any]:
    def begun(rank: int, size: int) -> Any:
        hvd.init()
        assert (hvd.rank(), hvd.size()) == (rank, size)
        return program(rank, size)

    return on_threads(size, begun)


def group_of(rank: int) -> list[dt.Tensor]:
    first, second, third = draw(rank, 3), draw(rank, 2, 2), draw(rank + 50, 1)
    return [dt.tensor(first, dtype="f64"), dt.tensor(second).float(), dt.tensor(third, dtype="f64")]


REDUCED: dict[Any, Callable[[list[np.ndarray]], np.ndarray]] = {
    hvd.Average: lambda parts: np.mean(parts, 0),
    hvd.Sum: lambda parts: np.sum(parts, 0),
    hvd.Max: lambda parts: np.max(parts, 0),
    hvd.Min: lambda parts: np.min(parts, 0),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("op", REDUCED)
@pytest.mark.parametrize("traced", [False, True])
def test_groups_are_reduced_as_each_alone(size: int, op: Any, traced: bool) -> None:
    def program(rank: int, size: int) -> None:
        mine = group_of(rank)
        call = dt.trace(lambda *tensors: hvd.grouped_allreduce(list(tensors), op=op)) if traced else (
            lambda *tensors: hvd.grouped_allreduce(list(tensors), op=op, name="group")
        )  # fmt: skip
        found = call(*mine)
        for place, result in enumerate(found):
            parts = [group_of(other)[place].numpy() for other in range(size)]
            np.testing.assert_allclose(result.numpy(), REDUCED[op](parts), rtol=1e-6)
            assert result.dtype is mine[place].dtype
            np.testing.assert_array_equal(mine[place].numpy(), group_of(rank)[place].numpy())  # as it was

    on_ranks(size, program)


@pytest.mark.parametrize("size", SIZES)
def test_groups_in_place_and_under_way(size: int) -> None:
    def program(rank: int, size: int) -> None:
        wanted = [np.mean([group_of(other)[place].numpy() for other in range(size)], 0) for place in range(3)]
        mine = group_of(rank)
        assert all(a is b for a, b in zip(hvd.grouped_allreduce_(mine), mine))
        kept, moved = group_of(rank), group_of(rank)
        handle, other = hvd.grouped_allreduce_async(kept), hvd.grouped_allreduce_async_(moved, op=hvd.Average)
        copies = hvd.synchronize(handle)
        assert hvd.synchronize(other) is not None and hvd.poll(other) and hvd.poll(handle)
        for place, right in enumerate(wanted):
            for result in (mine[place], copies[place], moved[place]):
                np.testing.assert_allclose(result.numpy(), right, rtol=1e-6)
            np.testing.assert_array_equal(kept[place].numpy(), group_of(rank)[place].numpy())

    on_ranks(size, program)


@pytest.mark.parametrize("size", SIZES)
def test_gradients_of_groups(size: int) -> None:
    def program(rank: int, size: int) -> None:
        a, b = (dt.tensor(draw(rank + k, 2), dtype="f64", requires_grad=True) for k in (0, 7))
        first, second = hvd.grouped_allreduce([a, b], op=hvd.Sum, prescale_factor=0.5, postscale_factor=3.0)
        np.testing.assert_allclose(second.numpy(), 1.5 * np.sum([draw(r + 7, 2) for r in range(size)], 0), rtol=1e-12)
        (first * (rank + 1.0) + second).sum().backward()
        assert a.grad is not None and b.grad is not None
        np.testing.assert_allclose(a.grad.numpy(), 1.5 * sum(range(1, size + 1)), rtol=1e-12)
        np.testing.assert_allclose(b.grad.numpy(), 1.5 * size, rtol=1e-12)

    on_ranks(size, program)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("traced", [False, True])
def test_rows_in_equal_parts(size: int, traced: bool) -> None:
    def program(rank: int, size: int) -> None:
        x = dt.tensor(draw(rank, 2 * size, 3), dtype="f64", requires_grad=True)
        found = (dt.trace(lambda x: hvd.alltoall(x)) if traced else hvd.alltoall)(x)
        wanted = np.concatenate([draw(other, 2 * size, 3)[2 * rank : 2 * rank + 2] for other in range(size)])
        np.testing.assert_array_equal(found.numpy(), wanted)

    on_ranks(size, program)


def splits_of(rank: int, size: int) -> list[int]:
    return [(rank + 2 * other) % 4 for other in range(size)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_rows_in_parts_of_any_size(size: int, as_tensor: bool) -> None:
    def rows(rank: int) -> np.ndarray:
        return draw(rank, sum(splits_of(rank, size)), 2)

    def block(source: int, target: int) -> np.ndarray:
        ends = np.cumsum([0, *splits_of(source, size)])
        return rows(source)[ends[target] : ends[target + 1]]

    def program(rank: int, size: int) -> None:
        x = dt.tensor(rows(rank), dtype="f64", requires_grad=True)
        splits = splits_of(rank, size)
        found, received = hvd.alltoall(x, dt.tensor(splits) if as_tensor else splits)
        assert received.tolist() == [splits_of(other, size)[rank] for other in range(size)]
        np.testing.assert_array_equal(found.numpy(), np.concatenate([block(other, rank) for other in range(size)]))
        (found * (rank + 1.0)).sum().backward()
        assert x.grad is not None
        factors = np.repeat(np.arange(1.0, size + 1), splits)  # who got a row multiplied it by his number
        np.testing.assert_array_equal(x.grad.numpy(), np.stack([factors, factors], 1).reshape(-1, 2))

    on_ranks(size, program)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rows", [0, 4, 7])
@pytest.mark.parametrize(("op", "traced"), [(hvd.Average, False), (hvd.Sum, False), (hvd.Average, True)])
def test_rows_of_a_sum(size: int, rows: int, op: Any, traced: bool) -> None:
    def program(rank: int, size: int) -> np.ndarray:
        x = dt.tensor(draw(rank, rows, 2), dtype="f64", requires_grad=True)
        call = dt.trace(lambda x: hvd.reducescatter(x, op=op)) if traced else lambda x: hvd.reducescatter(x, op=op)
        found = call(x)
        if not traced:
            (found * (rank + 1.0)).sum().backward()
            assert x.grad is not None
            counts = [rows // size + (other < rows % size) for other in range(size)]
            factors = np.repeat(np.arange(1.0, size + 1), counts) / (size if op == hvd.Average else 1)
            np.testing.assert_allclose(x.grad.numpy(), np.stack([factors, factors], 1).reshape(-1, 2), rtol=1e-12)
        return found.numpy()

    parts = on_ranks(size, program)
    assert [len(part) for part in parts] == [rows // size + (rank < rows % size) for rank in range(size)]
    total = np.sum([draw(rank, rows, 2) for rank in range(size)], 0)
    wanted = total / size if op == hvd.Average else total
    np.testing.assert_allclose(np.concatenate(parts), wanted, rtol=1e-12, atol=1e-12)


def test_what_cannot_be_shared_out_is_told_to_every_rank() -> None:
    def program(rank: int, size: int) -> None:
        x = dt.zeros(4, 2)
        with pytest.raises(ShapeError, match="rows that divide by 3"):
            hvd.alltoall(x)
        with pytest.raises(ShapeError, match="add up to 4 rows" if rank == 1 else "others on rank 1"):
            hvd.alltoall(x, [4, 0, 0] if rank != 1 else [1, 1, 1])
        for call in (hvd.alltoall, hvd.reducescatter):
            with pytest.raises(ShapeError, match="at least one axis"):
                call(dt.tensor(1.0))
        with pytest.raises(TraceError, match="splits outside of traced"):
            dt.trace(lambda x: hvd.alltoall(x, [2, 1, 1])[0])(x)
        with pytest.raises(TraceError, match="write grouped_allreduce"):
            dt.trace(lambda x: hvd.grouped_allreduce_async_([x]))(x)
        with pytest.raises(ValueError, match="op Sum or Average"):
            hvd.reducescatter(x, op=hvd.Max)
        with pytest.raises(TypeError, match="floats to average"):
            hvd.reducescatter(dt.tensor([1, 2, 3]))
        largest = dt.tensor(np.full(4, 60000, np.float16))
        assert set(hvd.reducescatter(largest).tolist()) == {60000.0}  # the sum is beyond the dtype, the mean is not
        assert hvd.reducescatter(dt.tensor([1, 2, 3]), op=hvd.Sum).tolist() == [3 * (rank + 1)]
        with pytest.raises(TypeError, match="a list of tensors, got Tensor"):
            hvd.grouped_allreduce(x)
        with pytest.raises(TypeError, match="a list of tensors, got none"):
            hvd.grouped_allreduce([])
        with pytest.raises(ValueError, match="process_set"):
            hvd.alltoall(x, process_set=3)

    on_ranks(3, program)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_batch_norm_over_all_ranks_trains_as_one_process(size: int) -> None:
    def model() -> nn.Module:
        dt.manual_seed(3)
        return nn.Sequential(nn.Linear(4, 5), hvd.SyncBatchNorm(5), nn.Linear(5, 2)).double()

    def train(net: nn.Module, optimizer: Any, batches: list[np.ndarray]) -> list[np.ndarray]:
        for batch in batches:
            optimizer.zero_grad()
            (net(dt.tensor(batch, dtype="f64")) ** 2).mean().backward()
            optimizer.step()
        return [tensor.numpy().copy() for tensor in net.state_dict().values()]

    def program(rank: int, size: int) -> list[np.ndarray]:
        net = model()
        optimizer = hvd.DistributedOptimizer(optim.SGD(net.parameters(), 0.1), net.named_parameters())
        hvd.broadcast_parameters(net.state_dict(), root_rank=0)
        return train(net, optimizer, [draw(10 * step + rank, 6, 4) for step in range(3)])

    whole = model()
    batches = [np.concatenate([draw(10 * step + rank, 6, 4) for rank in range(size)]) for step in range(3)]
    wanted = train(whole, optim.SGD(whole.parameters(), 0.1), batches)
    for found in on_ranks(size, program):
        for mine, right in zip(found, wanted):
            np.testing.assert_allclose(mine, right, rtol=1e-9, atol=1e-12)
