"""Gradients that wait under `no_sync`: the next synchronized pass brings the sum of all the means, to every rank."""

from __future__ import annotations

import contextlib
import copy
import pickle
from typing import Any

import numpy as np
import pytest
from helpers.one_process import EAGER_AND_TRACED, Net, batches, check, expect_gradients, gradients, mse

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain import optim


@EAGER_AND_TRACED
@pytest.mark.parametrize("micro", [1, 2, 3])
def test_no_sync_gives_the_sum_of_the_means_of_its_passes(micro: int, traced: bool) -> None:
    def step(model: Any, net: Any, part: Any) -> None:
        for i in range(micro):
            if isinstance(model, dist.DataParallel):
                with model.no_sync():
                    mse(model(part(i))).backward()
            else:
                mse(model(part(i))).backward()
        mse(model(part(micro))).backward()

    sizes = [[4, 1], [1, 3], [0, 2], [2, 2]]
    check(step, sizes, traced=traced, build=lambda: Net(norm=False), repeats=2)
    check(step, [*sizes[:2], [3, 2], [2, 1]], traced=traced)


class Sometimes(Net):
    """Uses its first layer only on batches of an odd number of samples."""

    def __init__(self) -> None:
        super().__init__(norm=False)

    def forward(self, x: Any) -> Any:
        return self.last(F.tanh(self.first(x) if len(x) % 2 else x))


@pytest.mark.parametrize("sizes", [[[1, 2], [2, 2]], [[2, 4], [1, 2]], [[2, 2], [4, 2]]])
def test_parameters_that_some_ranks_used_in_a_waiting_pass(sizes: list[list[int]]) -> None:
    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Sometimes()
            model = dist.data_parallel(net)
            for seed, counts in enumerate(sizes):
                begin = sum(counts[: communicator.rank])
                part = dt.tensor(batches(sum(counts), seed)[begin : begin + counts[communicator.rank]])
                with model.no_sync() if seed == 0 else contextlib.nullcontext():
                    mse(model(part)).backward()
            return gradients(net)

    one = Sometimes()
    for seed, counts in enumerate(sizes):
        parts = np.split(batches(sum(counts), seed), np.cumsum(counts)[:-1])
        sum(mse(one(dt.tensor(part))) * (len(part) / sum(counts)) for part in parts).backward()
    for found in dist.run_threads(2, program):
        expect_gradients(found, gradients(one))


def test_a_graph_takes_what_waits_for_parameters_that_never_waited_before() -> None:
    """The last layer waited when it was captured, the first one only later."""

    def program(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Sometimes()
            model = dist.data_parallel(net)
            step = dt.trace(lambda part: mse(model(part)).backward())
            for seed, waiting in enumerate((2, 3)):
                net.zero_grad()
                with model.no_sync():
                    mse(model(part_of(waiting, seed, communicator.rank))).backward()
                step(part_of(3, 10 + seed, communicator.rank))
            return gradients(net)

    def part_of(count: int, seed: int, rank: int) -> Any:
        return dt.tensor(np.split(batches(2 * count, seed), 2)[rank])

    one = Sometimes()
    for seed in (1, 11):
        for rank in range(2):
            (mse(one(part_of(3, seed, rank))) / 2).backward()
    for found in dist.run_threads(2, program):
        expect_gradients(found, gradients(one))


def test_no_sync_is_there_in_a_world_of_one() -> None:
    net = Net()
    with dist.no_sync(net):
        mse(net(dt.tensor(batches(3, 0)))).backward()
    assert net.first.weight.grad is not None
    with pytest.raises(TypeError, match=r"call collectives\.data_parallel"):
        dist.DataParallel(net)


# What is done to gradients while they wait ----------------------------------------------------------------------------


def _zero_grad(model: Any, net: Any, optimizer: Any) -> None:
    net.zero_grad()


def _optimizer_zero_grad(model: Any, net: Any, optimizer: Any) -> None:
    optimizer.zero_grad()


def _drop_one(model: Any, net: Any, optimizer: Any) -> None:
    net.first.weight.grad = None


def _replace_one(model: Any, net: Any, optimizer: Any) -> None:
    net.first.weight.grad = dt.full((4, 4), 3.0, dtype="f64")


def _scale(model: Any, net: Any, optimizer: Any) -> None:
    for p in net.parameters():
        p.grad = p.grad * 0.5


def _clip(model: Any, net: Any, optimizer: Any) -> None:
    optim.clip_grad_norm_(net.parameters(), 0.1)
    optim.clip_grad_value_(net.parameters(), 0.05)


def _step(model: Any, net: Any, optimizer: Any) -> None:
    optimizer.step()


def _freeze(model: Any, net: Any, optimizer: Any) -> None:
    net.first.requires_grad_(False)


def _evaluate(model: Any, net: Any, optimizer: Any) -> None:
    model.eval()
    with dt.no_grad():
        model(dt.ones((2, 4), dtype="f64"))
    model.train()


def _ask(model: Any, net: Any, optimizer: Any) -> None:
    """Gradients that are asked for are those of the whole batch at once, and touch nothing that waits."""
    (asked,) = dt.grad(mse(model(dt.ones((3, 4), dtype="f64"))), [net.first.weight])
    net.first.weight.assign_(net.first.weight.detach() + asked)


def _fail(model: Any, net: Any, optimizer: Any) -> None:
    """A pass that ends with an exception leaves what waits as it was, in the window and outside of it."""

    def refuse(gradient: Any) -> None:
        raise FloatingPointError

    handle = net.last.bias.register_grad_hook(refuse)
    for context in (dist.no_sync(model), contextlib.nullcontext()):
        with context, pytest.raises(FloatingPointError):
            mse(model(dt.ones((2, 4), dtype="f64"))).backward()
    handle.remove()


DONE = [
    _zero_grad, _optimizer_zero_grad, _drop_one, _replace_one, _scale, _clip, _step, _freeze, _evaluate, _ask, _fail,
]  # fmt: skip


@EAGER_AND_TRACED
@pytest.mark.parametrize("done", DONE, ids=lambda done: done.__name__.strip("_"))
@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_is_done_to_waiting_gradients(size: int, done: Any, traced: bool) -> None:
    """Between two passes of a window, and once more before the synchronized pass; as on one process."""
    sizes = [[4, 1, 2], [1, 3, 1], [1, 2, 3]]

    def program(net: Any, model: Any, part: Any, trace: Any, window: Any) -> Any:
        optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        backward = trace(lambda x: mse(model(x)).backward())
        for _ in range(2):  # graphs run again
            optimizer.zero_grad()
            net.first.requires_grad_(True)
            with window():
                backward(part(0))
                done(model, net, optimizer)
                backward(part(1))
            done(model, net, optimizer)
            backward(part(2))
            optimizer.step()
        return {**gradients(net), **{f"{name} itself": p.numpy().copy() for name, p in net.named_parameters()}}

    wholes = [batches(sum(counts[:size]), seed) for seed, counts in enumerate(sizes)]

    def on_rank(communicator: Any) -> Any:
        def part(i: int) -> Any:
            begin = sum(sizes[i][: communicator.rank])
            return dt.tensor(wholes[i][begin : begin + sizes[i][communicator.rank]])

        with dist.using(communicator):
            net = Net(norm=False)
            model = dist.data_parallel(net)
            return program(net, model, part, dt.trace if traced else lambda f: f, model.no_sync)

    one = Net(norm=False)
    wanted = program(one, one, lambda i: dt.tensor(wholes[i]), lambda f: f, contextlib.nullcontext)
    for found in dist.run_threads(size, on_rank):
        expect_gradients(found, wanted)


@EAGER_AND_TRACED
def test_a_step_without_a_synchronized_pass_averages_what_waits(traced: bool) -> None:
    def program(net: Any, model: Any, x: Any, trace: Any) -> Any:
        optimizer = optim.SGD(net.parameters(), lr=0.1)

        def step(x: Any) -> None:
            optimizer.zero_grad()
            with dist.no_sync(model):
                mse(model(x)).backward()
            optimizer.step()

        step = trace(step)
        for _ in range(3):
            step(x)
        if traced and net is not model:
            assert len(step.graphs) <= 2  # without gradients at first, with those of before from then on
        return [p.numpy() for p in net.parameters()]

    whole = batches(5, 0)

    def on_rank(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Net(norm=False)
            x = dt.tensor(whole[:4] if communicator.rank == 0 else whole[4:])
            return program(net, dist.data_parallel(net), x, dt.trace if traced else lambda f: f)

    one = Net(norm=False)
    wanted = program(one, one, dt.tensor(whole), lambda f: f)
    for found in dist.run_threads(2, on_rank):
        for mine, right in zip(found, wanted):
            np.testing.assert_allclose(mine, right, rtol=1e-9)


@EAGER_AND_TRACED
@pytest.mark.parametrize("kinds", ["wwsws", "wsws", "sww", "wswws"])
def test_hooks_see_the_gradient_of_one_pass(kinds: str, traced: bool) -> None:
    """In windows (w) and in synchronized passes (s), beside a penalty on the same parameter."""

    def program(net: Any, model: Any, part: Any, trace: Any) -> Any:
        net.first.weight.register_grad_hook(lambda gradient: gradient * 2)
        step = trace(lambda x: (mse(model(x)) + 0.1 * (net.last.weight**2).sum()).backward())
        for i, kind in enumerate(kinds):
            with dist.no_sync(model) if kind == "w" else contextlib.nullcontext():
                step(part(i))
        optim.clip_grad_norm_(net.parameters(), 1e9)
        return gradients(net)

    wholes = [batches(5, seed) for seed in range(len(kinds))]

    def on_rank(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Net(norm=False)
            model = dist.data_parallel(net)
            parts = [dt.tensor(np.split(whole, [4])[communicator.rank]) for whole in wholes]
            return program(net, model, lambda i: parts[i], dt.trace if traced else lambda f: f)

    one = Net(norm=False)
    wanted = program(one, one, lambda i: dt.tensor(wholes[i]), lambda f: f)
    for found in dist.run_threads(2, on_rank):
        expect_gradients(found, wanted)


@pytest.mark.parametrize("twin_of", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_made_in_a_window_have_what_waits(twin_of: Any) -> None:
    whole = batches(5, 0)

    def on_rank(communicator: Any) -> Any:
        with dist.using(communicator):
            model = dist.data_parallel(Net(norm=False))
            with model.no_sync():
                mse(model(dt.tensor(whole[:4] if communicator.rank == 0 else whole[4:]))).backward()
            twin = twin_of(model)
            model.zero_grad()
            optim.clip_grad_norm_(twin.parameters(), 1e9)
            return gradients(twin.module)

    one = Net(norm=False)
    mse(one(dt.tensor(whole))).backward()
    for found in dist.run_threads(2, on_rank):
        expect_gradients(found, gradients(one))


def test_a_rank_that_drops_alone_drops_its_own_part() -> None:
    """`grad` is each rank's own under `no_sync`: what remains is the part of the others, on all ranks alike."""

    def on_rank(communicator: Any) -> Any:
        with dist.using(communicator):
            net = Net(norm=False)
            model = dist.data_parallel(net)
            with model.no_sync():
                (model(dt.ones((2, 4), dtype="f64")).sum() / 2).backward()
            if communicator.rank == 1:
                net.zero_grad()
            optim.clip_grad_norm_(net.parameters(), 1e9)
            return net.last.bias.grad.tolist()

    assert dist.run_threads(2, on_rank) == [[0.5, 0.5], [0.5, 0.5]]
