"""`batch_weight`: means over something else than samples, ranks that do not count, and no overflow by a number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers.one_process import EAGER_AND_TRACED, FEATURES, Net, batches, gradients

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain.base.errors import ShapeError
from dtrain.collectives.training.given_weight import present_weight


@EAGER_AND_TRACED
@pytest.mark.parametrize("where", ["around the step", "inside of the step"])
def test_tokens_instead_of_samples(where: str, traced: bool) -> None:
    """Means over the elements that a mask keeps; other numbers of them at every step, none of them on one rank."""
    rng = np.random.default_rng(7)
    whole, masks = batches(6, 0), [(rng.random(6) < 0.5).astype(float) for _ in range(3)]
    masks[1][:4] = 0.0

    def masked_mean(y: Any, mask: Any) -> Any:
        return (F.square(y - 1.0).sum(1) * mask).sum() / mask.sum()

    one, wanted = Net(norm=False), []
    for mask in masks:
        one.zero_grad()
        masked_mean(one(dt.tensor(whole)), dt.tensor(mask)).backward()
        wanted.append(gradients(one))

    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Net(norm=False)
            model = dist.data_parallel(net)
            mine = slice(0, 4) if communicator.rank == 0 else slice(4, 6)

            def inside(x: Any, mask: Any) -> None:
                net.zero_grad()
                with dist.batch_weight(mask.sum()):
                    y = model(x)
                masked_mean(y, mask).backward()

            def around(x: Any, mask: Any) -> None:
                net.zero_grad()
                masked_mean(model(x), mask).backward()

            step = around if where == "around the step" else inside
            run, found = dt.trace(step) if traced else step, []
            for mask in masks:
                x, part = dt.tensor(whole[mine]), dt.tensor(mask[mine])
                with np.errstate(all="ignore"):
                    if where == "around the step":
                        with dist.batch_weight(float(mask[mine].sum())):
                            run(x, part)
                    else:
                        run(x, part)
                found.append(gradients(net))
            assert not traced or len(run.compiled) == 1, "the weight is no constant of a capture"
            return found

    for found in dist.run_threads(2, program):
        for mine, other in zip(found, wanted):
            for name, value in other.items():
                np.testing.assert_allclose(mine[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@EAGER_AND_TRACED
@pytest.mark.parametrize("counts", [[3.0, 0.0], [0.0, 2.0], [1.5, 4.0]])
def test_samples_of_a_rank_that_does_not_count_matter_through_sync_bn(counts: list[float], traced: bool) -> None:
    """Segmentation: all pixels of a rank are to be ignored, and its images are in the statistics all the same."""
    whole = batches(5, 0)
    own = [slice(0, 3), slice(3, 5)]
    one = Net()
    y = one(dt.tensor(whole))
    parts = [F.square(y[own[r]] - 1.0).mean() * (counts[r] / sum(counts)) for r in range(2)]
    (parts[0] + parts[1]).backward()

    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            net = dist.convert_sync_batch_norm(Net())
            model, rank = dist.data_parallel(net), communicator.rank

            def step(x: Any, count: Any) -> None:
                with dist.batch_weight(count if traced else float(count.item())):
                    y = model(x)
                # A mean over nothing is NaN, and so are its gradients.
                (F.square(y - 1.0).mean() * (count / count)).backward()

            with np.errstate(all="ignore"):
                (dt.trace(step) if traced else step)(dt.tensor(whole[own[rank]]), dt.tensor(np.array(counts[rank])))
            return gradients(net)

    for found in dist.run_threads(2, program):
        for name, value in gradients(one).items():
            np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


@EAGER_AND_TRACED
@pytest.mark.parametrize("norm", [True, False])
def test_a_rank_that_does_not_count_passes_on_what_comes_through_another_model(norm: bool, traced: bool) -> None:
    """Two models with sync-BN, one behind the other: what its own loss says is silenced, not what others say."""
    whole, counts, own = batches(5, 0), [2.0, 0.0], [slice(0, 3), slice(3, 5)]
    back = np.random.default_rng(3).standard_normal((2, FEATURES))

    def through(first: Any, second: Any, x: Any) -> Any:
        return second(F.matmul(first(x), dt.tensor(back)))

    pair = Net(1, norm), Net(2)
    F.square(through(*pair, dt.tensor(whole))[own[0]] - 1.0).mean().backward()
    wanted = [gradients(net) for net in pair]

    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            nets = [dist.convert_sync_batch_norm(net) for net in (Net(1, norm), Net(2))]
            models = [dist.data_parallel(net) for net in nets]

            def step(x: Any, count: Any) -> None:
                with dist.batch_weight(count if traced else count.item()):
                    y = through(*models, x)
                (F.square(y - 1.0).mean() * (count / count)).backward()

            x, count = dt.tensor(whole[own[communicator.rank]]), dt.tensor(np.array(counts[communicator.rank]))
            with np.errstate(all="ignore"):
                (dt.trace(step) if traced else step)(x, count)
            return [gradients(net) for net in nets]

    for found in dist.run_threads(2, program):
        for mine, other in zip(found, wanted):
            for name, value in other.items():
                np.testing.assert_allclose(mine[name], value, rtol=1e-9, atol=1e-12, err_msg=name)


def test_blocks_nest_and_end_with_an_error() -> None:
    def weights_seen() -> Any:
        return present_weight()

    assert weights_seen() is None
    with dist.batch_weight(3):
        with pytest.raises(KeyError), dist.batch_weight(np.float32(0.5)):
            assert weights_seen() == 0.5
            raise KeyError
        assert weights_seen() == 3.0
        traced = dt.trace(lambda: weights_seen() * dt.ones(()))
        assert traced().item() == 3.0
        with dist.batch_weight(dt.tensor(4)):
            assert traced().item() == 4.0
        assert traced().item() == 3.0 and len(traced.graphs) == 1
    assert weights_seen() is None


def test_a_wrong_weight_is_refused() -> None:
    for weight in (-1, float("nan"), float("inf"), "many", dt.tensor([-1.0])):
        with pytest.raises(ValueError, match="batch_weight: expected a finite number of at least 0"):
            dist.batch_weight(weight)
    with pytest.raises(ShapeError, match="a tensor of one element"):
        dist.batch_weight(dt.tensor([1.0, 2.0]))


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_short_floats_do_not_overflow_by_the_number_of_samples(dtype: str) -> None:
    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            layer = dt.nn.Linear(1, 1, bias=False)
            layer.weight.assign_(dt.zeros((1, 1)))
            layer.to(dtype)
            beside = dt.zeros((), dtype=dtype).requires_grad_()
            model = dist.data_parallel(layer)
            count = 2048 + 100 * communicator.rank
            y = model(dt.ones((count, 1), dtype=dtype))
            ((y * 64.0).mean() + beside * 64.0).backward()
            return layer.weight.grad.item(), beside.grad.item()

    assert dist.run_threads(2, program) == [(64.0, 64.0)] * 2


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("waits", [False, True])
def test_weights_near_the_largest_double(size: int, traced: bool, waits: bool) -> None:
    def program(communicator: Any) -> float:
        with dist.using(communicator):
            rank = communicator.rank
            layer = dt.nn.Linear(1, 1, bias=False).to("f64")
            model = dist.data_parallel(layer)

            def step(x: Any) -> None:
                with dist.batch_weight(0.5e308 * (1 + rank % 3)):
                    model(x).mean().backward()

            run = dt.trace(step) if traced else step
            x = dt.tensor(np.full((1, 1), 1.0 + rank))
            if waits:
                with model.no_sync():
                    run(x)
                model(x * 0.0).mean().backward()
            else:
                run(x)
            return layer.weight.grad.item()

    weights = [1 + rank % 3 for rank in range(size)]
    right = sum(weight * (1.0 + rank) for rank, weight in enumerate(weights)) / sum(weights)
    np.testing.assert_allclose(dist.run_threads(size, program), right, rtol=1e-12)


@pytest.mark.parametrize(("dtype", "largest"), [(np.float64, 1.7e308), (np.float32, 3.3e38)])
def test_a_plain_mean_of_numbers_near_the_largest(dtype: type, largest: float) -> None:
    """Beside small ones, whose mean keeps its bits, and beside what is no number."""
    signs = [1.0, 1.0, 1.0, -1.0, 1.0]

    def program(communicator: Any) -> Any:
        mine = np.array([largest, largest * signs[communicator.rank], 0.1 * communicator.rank, np.inf, np.nan], dtype)
        return communicator.all_reduce(np.tile(mine, 700), op="mean"), mine

    for size in (1, 2, 3, 5):
        results = dist.run_threads(size, program)
        small = np.zeros((), dtype)
        for _, mine in results:
            small = small + mine[2]
        for found, _ in results:
            rows = found.reshape(-1, 5)
            assert (rows[:, 2] == small / dtype(size)).all() and (rows[:, 3] == np.inf).all()
            assert np.isnan(rows[:, 4]).all()
            np.testing.assert_allclose(rows[:, 0], largest, rtol=1e-6)
            np.testing.assert_allclose(rows[:, 1], largest * (sum(signs[:size]) / size), rtol=1e-6)


def test_a_mean_by_weights_near_the_largest_double() -> None:
    def program(communicator: Any) -> list[float]:
        mine = np.array([1.0 + communicator.rank])
        return [communicator.all_reduce(mine, op="mean", weight=weight)[0] for weight in (1e308, (1e308, 1e308), 3.0)]

    for size in (1, 2, 3, 4):
        for found in dist.run_threads(size, program):
            np.testing.assert_allclose(found, (size + 1) / 2, rtol=1e-12)


def test_weights_of_numpy_are_numbers_and_pairs_are_two() -> None:
    def program(communicator: Any) -> None:
        mine = np.array([1.0 + communicator.rank])
        for kind in (np.float32, np.float64, np.int64):
            assert communicator.all_reduce(mine, op="sum", weight=kind(2))[0] == 6
            assert communicator.all_reduce(mine, op="mean", weight=(kind(2), kind(4)))[0] == 0.75
        for wrong in ((1.0,), (1.0, 2.0, 3.0), (), np.float32("nan"), np.int64(-1), "1"):
            with pytest.raises(ValueError, match="a weight that is a finite number of at least 0"):
                communicator.all_reduce(mine, op="mean", weight=wrong)

    dist.run_threads(2, program)
