"""Public collectives that refuse their arguments on one rank: the next call of that rank is not taken for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain import nn, optim
from dtrain.base.errors import CollectiveError, CollectiveMismatchError, ShapeError, TraceError
from dtrain.collectives import horovod as hvd

# Each raises before a communicator sees it, where the tensor or the list does not fit.
REFUSED: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "reduce_scatter": (dist.reduce_scatter, dt.zeros(5)),
    "reduce_scatter, parts": (lambda parts: dist.reduce_scatter(dt.zeros(2), parts), [dt.zeros(2)]),
    "all_to_all": (dist.all_to_all, dt.zeros(5)),
    "all_to_all, list": (lambda parts: dist.all_to_all([dt.zeros(2)] * 2, parts), [dt.zeros(2), dt.zeros(3)]),
    "all_reduce": (dist.all_reduce, "text"),
    "all_reduce, async": (lambda x: dist.all_reduce(x, async_op=True), "text"),
    "all_gather": (dist.all_gather, "text"),
    "all_gather, list": (lambda places: dist.all_gather(places, dt.zeros(2)), [dt.zeros(2)]),
    "broadcast": (lambda root: dist.broadcast(dt.zeros(2), src=root), 7),
    "broadcast, root": (lambda root: dist.broadcast(dt.zeros(2), root=root), 7),
    "reduce, root": (lambda root: dist.reduce(dt.zeros(2), root=root), -1),
    "gather": (lambda root: dist.gather(dt.zeros(2), root=root, dst=root), 0),
    "gather, list": (lambda places: dist.gather(dt.zeros(2), places), 0),  # what other libraries call the root
    "gather, tensor": (lambda places: dist.gather(dt.zeros(2), places), dt.zeros(3, 2)),
    "gather, root": (lambda root: dist.gather(dt.zeros(2), root=root), 7),
    "scatter, list": (lambda parts: dist.scatter(dt.zeros(2), parts), 0),
    "scatter, root": (lambda root: dist.scatter(dt.zeros(2), root=root), "0"),
    "gather_object, list": (lambda places: dist.gather_object(1, places), 0),
    "scatter_object_list, values": (lambda values: dist.scatter_object_list([None], values), 5),
    "scatter": (lambda x: dist.scatter(x, [dt.zeros(2)], 1), dt.zeros(2)),
    "weighted_mean": (lambda count: dist.weighted_mean(dt.tensor(1.0), count), "many"),
    "all_gather_object": (lambda places: dist.all_gather_object(places, 1), []),
    "scatter_object_list": (lambda place: dist.scatter_object_list(place, [1, 2], 0), []),
    "new_group": (dist.new_group, 5),
    "hvd.allreduce": (lambda x: hvd.allreduce(x, prescale_factor=2.0), dt.tensor([1, 2])),
    "hvd.allgather": (hvd.allgather, dt.tensor(1.0)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refused_call_is_missing_on_every_rank(name: str) -> None:
    call, wrong = REFUSED[name]

    def program(comm: Any) -> list[str]:
        if comm.rank == 1:
            with pytest.raises((ValueError, TypeError, AttributeError, CollectiveError)):
                call(wrong)
        for _ in range(2):  # with the same text on all ranks: the numbers would be those of different steps
            with pytest.raises(CollectiveMismatchError, match="after 1 call of this rank that ended before"):
                dist.all_reduce(dt.tensor([1.0 + comm.rank]))
        return []

    dist.run_threads(2, program, timeout=20)


def test_what_all_ranks_refuse_breaks_nothing() -> None:
    def program(comm: Any) -> None:
        for call, wrong in REFUSED.values():
            with pytest.raises((ValueError, TypeError, AttributeError, CollectiveError)):
                call(wrong)
        assert dist.all_reduce(dt.tensor([1.0 + comm.rank])).tolist() == [6]

    dist.run_threads(3, program, timeout=20)


def test_a_call_that_all_have_carried_out_is_not_missing() -> None:
    def program(comm: Any) -> None:
        x = dt.tensor([1.0])
        if comm.rank == 1:
            with pytest.raises(TypeError, match="a tensor to put the result into"):
                dist.all_reduce([1.0])
        else:
            dist.all_reduce(x)
        assert dist.all_reduce(dt.tensor([2.0])).tolist() == [4]

    dist.run_threads(2, program, timeout=20)


def training_step(**options: Any) -> Callable[[int], float]:
    """A traced step that raises for a label that is no class, before it has sent its gradients."""
    dt.seed(0, rank=0)
    model = dist.data_parallel(nn.Linear(3, 4))
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @dt.trace
    def step(x: dt.Tensor, labels: dt.Tensor) -> dt.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return dist.all_reduce(loss.detach(), **options)

    return lambda label: step(dt.ones(1, 3), dt.tensor([label])).item()


def test_a_batch_that_one_rank_skips_in_a_traced_step_is_told() -> None:
    def program(comm: Any) -> None:
        step = training_step()
        step(1)
        if comm.rank == 1:
            with pytest.raises(ValueError, match="cross_entropy"):
                step(9)
        for _ in range(2):
            with pytest.raises(CollectiveMismatchError, match="after 1 call of this rank that ended before"):
                step(2)

    dist.run_threads(2, program, timeout=20)


def test_a_batch_that_one_rank_skips_in_a_capture_is_told() -> None:
    def program(comm: Any) -> None:
        @dt.trace
        def halves(x: dt.Tensor) -> dt.Tensor:
            return dist.all_reduce(x).reshape(2, -1)

        if comm.rank == 1:
            with pytest.raises(ShapeError, match="reshape"):
                halves(dt.ones(3))
        for _ in range(2):
            with pytest.raises(CollectiveMismatchError, match="after 1 call"):
                halves(dt.ones(4))

    dist.run_threads(2, program, timeout=20)


def test_what_cannot_be_traced_may_run_without_a_trace() -> None:
    def program(comm: Any) -> None:
        def total(x: dt.Tensor) -> dt.Tensor:
            result = dist.all_reduce(x)
            if comm.rank == 1:
                assert result.item() == 2  # for its log
            return result * 1

        try:
            assert dt.trace(total)(dt.ones(1)).item() == 2
        except TraceError:
            assert total(dt.ones(1)).item() == 2
        assert dist.all_reduce(dt.ones(1)).item() == 2

    dist.run_threads(2, program, timeout=20)


def test_a_batch_that_all_ranks_skip_in_a_traced_step_breaks_nothing() -> None:
    def program(comm: Any) -> list[float]:
        group = dist.new_group([0, 1, 2])
        step = training_step(group=group)
        losses = [step(1)]
        with pytest.raises(ValueError, match="cross_entropy"):
            step(9)
        return [*losses, step(2), dist.all_reduce(dt.tensor([1.0]), group=group).item()]

    first, *others = dist.run_threads(3, program, timeout=20)
    assert others == [first] * 2 and first[2] == 3


def test_a_miss_belongs_to_its_group() -> None:
    def program(comm: Any) -> None:
        group = dist.new_group([0, 1])
        if comm.rank == 1:
            with pytest.raises(ShapeError):
                dist.reduce_scatter(dt.zeros(5), group=group)
        assert dist.all_reduce(dt.tensor([1.0])).tolist() == [3]  # the world goes on
        if comm.rank < 2:
            with pytest.raises(CollectiveMismatchError, match="after 1 call"):
                dist.all_reduce(dt.tensor([1.0]), group=group)

    dist.run_threads(3, program, timeout=20)
