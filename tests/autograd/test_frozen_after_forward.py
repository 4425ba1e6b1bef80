"""A leaf that is frozen between forward and backward gets no gradient: an optimizer would move it."""

from __future__ import annotations

import pytest

import dtrain as dt
from dtrain import collectives as dist
from dtrain import nn, optim

traced_or_not = pytest.mark.parametrize("traced", [False, True])


@traced_or_not
def test_frozen_leaves_get_no_gradient_and_call_no_hooks(traced: bool) -> None:
    x, y = (dt.tensor([2.0], requires_grad=True) for _ in range(2))
    seen = []
    x.register_hook(lambda gradient: seen.append(gradient))

    def step(z):
        loss = (x * y * z).sum()
        x.requires_grad_(False)
        loss.backward()
        x.requires_grad_(True)

    (dt.trace(step) if traced else step)(dt.tensor([3.0]))
    assert x.grad is None and y.grad.tolist() == [6.0] and not seen


def test_what_a_frozen_leaf_has_stays() -> None:
    x = dt.Parameter(dt.tensor([1.0]))
    optimizer = optim.SGD([x], lr=1.0)
    loss = (x * 3).sum()
    x.grad = dt.tensor([5.0])
    x.requires_grad_(False)
    loss.backward()
    assert x.grad.tolist() == [5.0]
    optimizer.zero_grad()
    optimizer.step()
    assert x.tolist() == [1.0]


def test_unfrozen_after_forward_it_has_no_part_in_it() -> None:
    x, y = dt.tensor([2.0]), dt.tensor([2.0], requires_grad=True)
    loss = (x * y).sum()
    x.requires_grad_()
    loss.backward()
    assert x.grad is None and y.grad.tolist() == [2.0]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("sizes", [(3,), (2, 1), (2, 0, 1)])
def test_on_several_ranks(sizes: tuple[int, ...], waits: bool) -> None:
    """What waited before stays, and is made whole with the rest."""

    def program(world):
        with dist.using(world):
            dt.seed(0, rank=0)
            model = dist.data_parallel(nn.Linear(1, 1))
            start = sum(sizes[: world.rank])
            x = dt.tensor([[1.0], [2.0], [6.0]])[start : start + sizes[world.rank]]
            if waits:
                with model.no_sync():
                    (model(x) * 2).mean().backward()
            loss = model(x).mean()
            model.module.weight.requires_grad_(False)
            loss.backward()
            return [None if p.grad is None else p.grad.item() for p in (model.module.weight, model.module.bias)]

    expected = [6.0, 3.0] if waits else [None, 1.0]
    for found in dist.run_threads(len(sizes), program):
        assert found == pytest.approx(expected)


@traced_or_not
@pytest.mark.parametrize("freeze", [lambda x: x.detach_(), lambda x: x.requires_grad_(False)])
def test_a_leaf_that_a_step_freezes_stays_frozen(freeze, traced: bool) -> None:
    x = dt.tensor([2.0], requires_grad=True)

    def step(y):
        (x * y).sum().backward()
        freeze(x)

    step = dt.trace(step) if traced else step
    for count in (1, 2):
        x.requires_grad_(True)
        step(dt.tensor([3.0]))
        assert not x.requires_grad and x.grad.tolist() == [3.0 * count]


@traced_or_not
def test_detach_takes_a_history_of_inside_away(traced: bool) -> None:
    x, buffer = dt.tensor([2.0], requires_grad=True), dt.zeros(1)

    def step(y):
        buffer.add_(x * y)
        buffer.detach_()
        return buffer * 1

    step = dt.trace(step) if traced else step
    assert [step(dt.tensor([1.0])).item() for _ in range(2)] == [2.0, 4.0] and not buffer.requires_grad
