"""Differentiable collectives: values and gradients against the same computation on all ranks' tensors together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain.base.errors import ShapeError
from dtrain.collectives.ops import collective_ops as ops

SIZES = [1, 2, 3, 5]


def draw(rank: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(100 + rank).standard_normal(shape)


def on_ranks(size: int, collective: Callable[[dt.Tensor], dt.Tensor], *shape: int, traced: bool) -> list[Any]:
    """y = collective(x_r), loss_r = Σ w_r·y with weights of its own per rank; (y, dx) of every rank."""

    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            x = dt.tensor(draw(communicator.rank, *shape), requires_grad=True)

            def forward() -> dt.Tensor:
                y = collective(x)
                weights = dt.tensor(draw(50 + communicator.rank, *y.shape))
                x.grad = None
                (y * weights).sum().backward()
                return y

            y = (dt.trace(forward) if traced else forward)()
            assert x.grad is not None
            return y.numpy(), x.grad.numpy()

    return dist.run_threads(size, program)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("op", ["sum", "mean", "max", "min"])
def test_all_reduce(op: str, size: int, traced: bool) -> None:
    results = on_ranks(size, lambda x: dist.all_reduce(x, op=op), 2, 3, traced=traced)
    xs = np.stack([draw(rank, 2, 3) for rank in range(size)])
    wanted = getattr(np, op)(xs, axis=0)
    grad = sum(draw(50 + rank, 2, 3) for rank in range(size))
    for rank, (y, dx) in enumerate(results):
        np.testing.assert_allclose(y, wanted, rtol=1e-12)
        mine = {"sum": grad, "mean": grad / size}.get(op, np.where(xs[rank] == wanted, grad, 0))
        np.testing.assert_allclose(dx, mine, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_of_several_tensors_are_reduced_alike(weighted: bool) -> None:
    def program(communicator: Any) -> list[np.ndarray]:
        with dist.using(communicator):
            rank = communicator.rank
            xs = [dt.tensor(draw(rank, 2), requires_grad=True), dt.tensor(draw(rank, 3), requires_grad=True)]
            weight = dt.tensor(np.array([rank + 1.0, rank + 1.0])) if weighted else None
            ys = ops.all_reduce_many(xs, op="mean", labels=["a", "b"], weight=weight)
            (F.square(ys[0]).sum() * (rank + 2) + ys[1].sum()).backward()
            return [x.grad.numpy() for x in xs]

    shares = np.array([1, 2, 3]) / 6 if weighted else np.ones(3) / 3
    mean = sum(share * draw(rank, 2) for rank, share in enumerate(shares))
    for first, second in dist.run_threads(3, program):
        np.testing.assert_allclose(first, sum(s * 2 * mean * (r + 2) for r, s in enumerate(shares)), rtol=1e-12)
        np.testing.assert_allclose(second, 1.0, rtol=1e-12)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_all_gather(size: int, traced: bool) -> None:
    results = on_ranks(size, dist.all_gather, 2, 3, traced=traced)
    wanted = np.stack([draw(rank, 2, 3) for rank in range(size)])
    weights = sum(draw(50 + rank, size, 2, 3) for rank in range(size))
    for rank, (y, dx) in enumerate(results):
        np.testing.assert_array_equal(y, wanted)
        np.testing.assert_allclose(dx, weights[rank], rtol=1e-12)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("op", ["sum", "mean", "max", "min"])
def test_reduce_scatter(op: str, size: int) -> None:
    results = on_ranks(size, lambda x: dist.reduce_scatter(x, op=op), 2 * size, 3, traced=op == "max")
    xs = np.stack([draw(rank, 2 * size, 3) for rank in range(size)])
    wanted = getattr(np, op)(xs, axis=0)
    grad = np.concatenate([draw(50 + rank, 2, 3) for rank in range(size)])
    for rank, (y, dx) in enumerate(results):
        np.testing.assert_allclose(y, wanted[2 * rank : 2 * rank + 2], rtol=1e-12)
        mine = {"sum": grad, "mean": grad / size}.get(op, np.where(xs[rank] == wanted, grad, 0))
        np.testing.assert_allclose(dx, mine, rtol=1e-12)


def test_a_mean_of_slices_overflows_no_short_float() -> None:
    def program(communicator: Any) -> list[Any]:
        large, place = dt.tensor(np.full(2, 60000, np.float16)), dt.tensor(np.zeros(1, np.float16))
        dist.reduce_scatter(place, [large[:1], large[1:]], "mean")
        return [dist.reduce_scatter(large, op="mean").item(), place.item()]

    assert dist.run_threads(2, program) == [[60000, 60000]] * 2


@pytest.mark.parametrize("op", ["max", "min"])
def test_nan_stays_visible_in_gradients_of_extrema(op: str) -> None:
    values = [[0.0, 3.0], [np.nan, 2.0]]  # of each rank
    chosen = [[0.0, float(op == "max")], [1.0, float(op == "min")]]

    def program(communicator: Any) -> None:
        for collective, times in ((dist.all_reduce, 2), (dist.reduce_scatter, 1)):
            x = dt.tensor(np.array(values[communicator.rank]), requires_grad=True)
            collective(x, op=op).sum().backward()
            assert x.grad is not None
            assert x.grad.tolist() == [times * part for part in chosen[communicator.rank]]

    dist.run_threads(2, program)


@pytest.mark.parametrize("size", SIZES)
def test_broadcast(size: int) -> None:
    root = size - 1
    results = on_ranks(size, lambda x: dist.broadcast(x, root=root), 4, traced=False)
    grad = sum(draw(50 + rank, 4) for rank in range(size))
    for rank, (y, dx) in enumerate(results):
        np.testing.assert_array_equal(y, draw(root, 4))
        np.testing.assert_allclose(dx, grad if rank == root else 0 * grad, rtol=1e-12)


@pytest.mark.parametrize("size", SIZES)
def test_all_to_all(size: int) -> None:
    results = on_ranks(size, dist.all_to_all, size, 2, traced=False)
    xs = np.stack([draw(rank, size, 2) for rank in range(size)])
    weights = np.stack([draw(50 + rank, size, 2) for rank in range(size)])
    for rank, (y, dx) in enumerate(results):
        np.testing.assert_array_equal(y, xs[:, rank])
        np.testing.assert_array_equal(dx, weights[:, rank])


@pytest.mark.parametrize("size", [1, 3])
def test_weighted_mean_ignores_what_a_rank_without_samples_holds(size: int) -> None:
    counts = [0, 3, 5][:size] if size > 1 else [4]

    def program(communicator: Any) -> float:
        with dist.using(communicator):
            count = counts[communicator.rank]
            value = float("nan") if count == 0 else float(count * 10)
            return float(dist.weighted_mean(dt.tensor(value), count).item())

    wanted = sum(count * count * 10 for count in counts) / sum(counts)
    assert dist.run_threads(size, program) == pytest.approx([wanted] * size)


def test_a_collective_is_neither_removed_nor_merged() -> None:
    def program(communicator: Any) -> list[str]:
        with dist.using(communicator):

            @dt.trace
            def step(x: dt.Tensor) -> dt.Tensor:
                dist.all_reduce(x)  # the result is not used, but the others wait
                return dist.all_reduce(x) + dist.all_reduce(x)

            step(dt.tensor([1.0]))
            return [node.op.name for node in step.graphs[0].nodes]

    for names in dist.run_threads(2, program):
        assert names.count("all_reduce") == 3


def test_shapes_that_ranks_cannot_divide_are_refused() -> None:
    def program(communicator: Any) -> str:
        with dist.using(communicator):
            for collective in (dist.reduce_scatter, dist.all_to_all):
                with pytest.raises(ShapeError, match="a leading axis that 2 ranks divide"):
                    collective(F.matmul(dt.tensor(np.ones((3, 1))), dt.tensor(np.ones((1, 2)))))
        return "ok"

    assert dist.run_threads(2, program) == ["ok", "ok"]
