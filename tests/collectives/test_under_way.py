"""All-reduces of buckets under way while the rest of backward runs: the same bits, and order after errors too."""

from __future__ import annotations

import re
import threading
from typing import Any

import numpy as np
import pytest
from helpers.run_ranks import run_ranks
from helpers.thread_ranks import draw, on_ranks

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain import nn, optim
from dtrain.base.errors import CollectiveError
from dtrain.collectives.ops.collective_ops import all_reduce


def training(rank: int, *, overlap: bool, make: Any = None, num_steps: int = 4) -> dict[str, Any]:
    """Steps of a traced data-parallel model in small buckets, every rank with numbers of its own."""
    dt.manual_seed(3)
    model = dist.data_parallel(
        nn.Sequential(nn.Linear(6, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 3)), bucket_mb=0.004
    )
    optimizer = (make or optim.Adam)(model.parameters(), lr=0.05)

    @dt.trace(overlap=overlap)
    def step(x: dt.Tensor, y: dt.Tensor) -> dt.Tensor:
        loss = F.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    losses = []
    for turn in range(num_steps):
        x = dt.tensor(draw(10 * rank + turn, 5 + rank, 6).astype(np.float32))
        losses.append(step(x, dt.arange(5 + rank) % 3).numpy().tobytes())
    executor = step.compiled[0].executor
    return {
        "losses": losses,
        "parameters": [parameter.numpy().tobytes() for parameter in model.parameters()],
        "gradients": [parameter.grad.numpy().tobytes() for parameter in model.parameters()],
        "kinds": [step.kind for step in executor.steps],
        "steps": executor.steps,
    }


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("make", [optim.Adam, optim.SGD])
def test_training_gives_the_same_bits(size: int, make: Any) -> None:
    plain = on_ranks(size, lambda rank, _: training(rank, overlap=False, make=make))
    under_way = on_ranks(size, lambda rank, _: training(rank, overlap=True, make=make))
    for one, other in zip(plain, under_way):
        assert one["losses"] == other["losses"]
        assert one["parameters"] == other["parameters"]
        assert one["gradients"] == other["gradients"]
        assert not {"start", "wait"} & set(one["kinds"])
        assert other["kinds"].count("start") == other["kinds"].count("wait") == one["kinds"].count("collective") > 1


def under_mpirun(communicator: Any) -> dict[str, Any]:
    with dist.using(communicator):
        made = [training(communicator.rank, overlap=overlap, num_steps=3) for overlap in (False, True)]
    return {"same": made[0]["parameters"] == made[1]["parameters"], "starts": made[1]["kinds"].count("start")}


def test_training_under_mpirun_gives_the_same_bits() -> None:
    assert run_ranks(__file__, "under_mpirun", 3) == [{"same": True, "starts": 3}] * 3


def test_kernels_run_between_a_start_and_its_wait() -> None:
    (steps, *_) = on_ranks(2, lambda rank, _: training(rank, overlap=True)["steps"])
    first = next(place for place, step in enumerate(steps) if step.kind == "start")
    wait = next(place for place, step in enumerate(steps) if step.kind == "wait" and step.node is steps[first].node)
    between = [step for step in steps[first:wait] if step.kind == "kernel"]
    assert any("matmul" in step.name or "linear" in step.name for step in between), [step.name for step in between]
    reduced = set(steps[first].node.outputs)
    assert all(not reduced & set(step.node.inputs) for step in between)
    assert reduced & set(steps[wait + 1].node.inputs) or steps[wait + 1].kind == "wait"


def test_a_result_that_nobody_reads_is_there_when_the_run_ends() -> None:
    def run(rank: int, size: int) -> tuple[list[Any], list[str]]:
        @dt.trace(overlap=True)
        def total(x: dt.Tensor) -> tuple[dt.Tensor, ...]:
            parts = [all_reduce(x * factor, label=f"p{factor}", bucket_bytes=1000) for factor in (2.0, 3.0)]
            return (*parts, x * 5.0)

        results = [total(dt.tensor(draw(rank + 7 * turn, 4))) for turn in range(2)]
        return [[one.numpy() for one in each] for each in results], [s.kind for s in total.compiled[0].executor.steps]

    for rank, (results, kinds) in enumerate(on_ranks(3, run)):
        assert "start" in kinds and kinds[-1] == "wait"
        for turn, (twice, thrice, own) in enumerate(results):
            parts = [draw(other + 7 * turn, 4) for other in range(3)]
            np.testing.assert_allclose(twice, 2 * sum(parts), rtol=1e-12)
            np.testing.assert_allclose(thrice, 3 * sum(parts), rtol=1e-12)
            np.testing.assert_array_equal(own, 5 * parts[rank])


@pytest.mark.parametrize("fails_on", [None, 1])
def test_an_error_behind_a_start_leaves_no_work_behind(fails_on: int | None) -> None:
    """The one rank that fails (or all) has taken part in what had begun: results of the next run are right."""

    def run(rank: int, size: int) -> Any:
        table = dt.tensor(draw(50, 3, 2))

        @dt.trace(overlap=True)
        def step(x: dt.Tensor, index: dt.Tensor) -> tuple[dt.Tensor, ...]:
            parts = [all_reduce(x * factor, label=f"p{factor}", bucket_bytes=1000) for factor in (2.0, 3.0)]
            return (F.embedding(index, table), *parts)

        x = dt.tensor(draw(rank, 4))
        bad = 9 if fails_on in (None, rank) else 1
        step(x, dt.tensor([0]))
        kinds = [step.kind for step in step.compiled[0].executor.steps]
        assert kinds.index("start") < len(kinds) - 1
        try:
            step(x, dt.tensor([bad]))
            said = ""
        except ValueError as error:
            said = str(error)
        flights = step.compiled[0].executor._under_way._flights
        assert all(flight.work is None for flight in flights)
        _, twice, _ = step(x, dt.tensor([2]))
        return said, twice.numpy()

    for rank, (said, twice) in enumerate(on_ranks(3, run)):
        assert ("index" in said) == (fails_on in (None, rank))
        np.testing.assert_allclose(twice, 2 * sum(draw(other, 4) for other in range(3)), rtol=1e-12)


def test_what_a_work_raises_ends_the_run_at_the_wait() -> None:
    def run(rank: int, size: int) -> str:
        @dt.trace(overlap=True)
        def step(x: dt.Tensor) -> tuple[dt.Tensor, ...]:
            return tuple(all_reduce(x * factor, label="p", bucket_bytes=1000) for factor in (2.0, 3.0))

        x = dt.tensor(draw(rank, 4))
        step(x)
        if rank == 1:
            return ""
        dist.get_communicator().timeout = 0.3
        with pytest.raises(CollectiveError) as caught:
            step(x)
        return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])

    said = on_ranks(2, run)
    assert "all_reduce_many, traced from" in said[0]


@pytest.mark.parametrize("rank_2", ["is late", "leaves"])
def test_the_first_words_are_the_cause_whatever_is_waited_for_first(rank_2: str) -> None:
    """The optimizer reads what the last bucket brings before what the first one does, in which the others noticed."""
    have_raised = threading.Barrier(3)

    def run(rank: int, size: int) -> tuple[str, list[str]]:
        dt.manual_seed(3)
        model = dist.data_parallel(nn.Sequential(*(nn.Linear(20, 20) for _ in range(4))), bucket_mb=0.002)
        optimizer = optim.SGD(model.parameters(), lr=0.05)

        @dt.trace(overlap=True)
        def step(x: dt.Tensor) -> dt.Tensor:
            optimizer.zero_grad()
            loss = (model(x) ** 2).sum()
            loss.backward()
            optimizer.step()
            return loss

        x = dt.tensor(draw(rank, 3, 20).astype(np.float32))
        step(x)
        assert [one.kind for one in step.compiled[0].executor.steps].count("start") > 2
        if rank == 2:
            if rank_2 == "is late":
                have_raised.wait(60)
            return "", []
        dist.get_communicator().timeout = 0.3 if rank_2 == "is late" else 30.0
        with pytest.raises(CollectiveError) as caught:
            step(x)
        if rank_2 == "is late":
            have_raised.wait(60)
        return str(caught.value), [note for note in caught.value.__notes__ if "was under way" in note]

    first, second, _ = on_ranks(3, run)
    causes = {
        "is late": r"group 'world', collective \d+ \(all_reduce_many .*\) on rank \d: expected every rank within 0.3 "
        r"s, got nothing from rank 2;",
        "leaves": r"group 'world', collective \d+ \(all_reduce_many .*\) on rank \d: expected every rank of the group, "
        r"but rank 2 has ended its script",
    }
    assert any(re.match(causes[rank_2], text) for text, _ in (first, second)), (first, second)
    gave_up = r"group 'world', collective \d+ .*: expected every rank of the group, but rank [01] left all_reduce_many"
    for text, notes in (first, second):
        assert re.match(causes[rank_2], text) or re.match(gave_up, text), text
        assert not notes
