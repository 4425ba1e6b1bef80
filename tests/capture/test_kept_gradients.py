"""trace and gradients that somebody has in hand when backward adds to them: they stay as they are, as eagerly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import dtrain as dt

Step = Callable[[dt.Parameter, dt.Tensor], object]


def add(p, x):
    (p * x).sum().backward()


def tensor_itself(p, x):
    before = p.grad
    add(p, x)
    return before * 1, p.grad * 1, p.grad - before


def detached(p, x):
    before = p.grad.detach()
    add(p, x)
    return before * 1, p.grad * 1


def a_view(p, x):
    part = p.grad[:1]
    add(p, x)
    return part * 1, p.grad[1:] * 1


def between_two_passes(p, x):
    add(p, x)
    before = p.grad
    (p * p).sum().backward()
    return before, p.grad - before


def each_of_three_passes(p, x):
    kept = []
    for _ in range(3):
        kept.append(p.grad)
        add(p, x)
    return [*kept, p.grad]


def written_into_before(p, x):
    before = p.grad
    before.mul_(2.0)
    add(p, x)
    return before * 1, p.grad * 1


def written_into_afterwards(p, x):
    before = p.grad
    add(p, x)
    before.mul_(2.0)
    p.grad.add_(1.0)
    return before * 1, p.grad * 1


def zeroed_in_place(p, x):
    before = p.grad
    p.grad.zero_()
    add(p, x)
    return before * 1, p.grad * 1


def cleared(p, x):
    before = p.grad
    dt.optim.SGD([p], lr=0.1).zero_grad()
    add(p, x)
    return before * 1, p.grad * 1


def replaced(p, x):
    before = p.grad
    p.grad = before * 2
    add(p, x)
    return before * 1, p.grad * 1


def clipped(p, x):
    before = p.grad
    add(p, x)
    dt.optim.clip_grad_norm_([p], 1.0)
    add(p, x)
    return before * 1, p.grad * 1


def put_back(p, x):
    before = p.grad
    add(p, x)
    after, p.grad = p.grad, before
    return after * 1


def followed_by_a_step(p, x):
    before = p.grad
    add(p, x)
    dt.optim.SGD([p], lr=0.5).step()
    return before * 1, p * 1


STEPS = [
    tensor_itself, detached, a_view, between_two_passes, each_of_three_passes, written_into_before,
    written_into_afterwards, zeroed_in_place, cleared, replaced, clipped, put_back, followed_by_a_step,
]  # fmt: skip


def bits(results: object) -> object:
    if isinstance(results, dt.Tensor):
        return results.numpy().tobytes()
    return [bits(result) for result in results] if isinstance(results, list | tuple) else results


def outcome(step: Step, *, traced: bool, between: str) -> list[object]:
    """What four calls give and leave, and what happened to gradients that somebody kept between them."""
    p = dt.Parameter([1.0, 2.0])
    p.grad = dt.tensor([10.0, 20.0])
    run = dt.trace(lambda x: step(p, x)) if traced else lambda x: step(p, x)
    seen, kept = [], [p.grad]
    for number in range(4):
        seen.append(bits(run(dt.tensor([0.5 + number, 3.0]))))
        if between == "looked at" or number == 2:
            kept.append(p.grad)
        elif between == "added to":
            p.sum().backward()
        elif between == "replaced":
            p.grad = dt.tensor([float(number), 7.0])
    return [*seen, bits(kept), bits(p.grad), bits(p)]


@pytest.mark.parametrize("between", ["nothing", "looked at", "added to", "replaced"])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_what_was_read_before_backward_stays_as_it_was(step: Step, between: str) -> None:
    assert outcome(step, traced=True, between=between) == outcome(step, traced=False, between=between)


@pytest.mark.parametrize("step", [between_two_passes, lambda p, x: add(p, x)], ids=["read", "unread"])
def test_gradients_kept_between_calls_stay_as_they_are(step: Step) -> None:
    """The first call finds none; later ones add to what somebody holds."""

    def kept(traced: bool) -> list[list[float]]:
        p = dt.Parameter([1.0, 2.0])
        run = dt.trace(lambda x: step(p, x)) if traced else lambda x: step(p, x)
        found = []
        for _ in range(4):
            run(dt.tensor([1.0, 3.0]))
            found.append(p.grad)
        return [gradient.tolist() for gradient in found]

    assert kept(traced=True) == kept(traced=False)


def test_two_leaves_that_hold_one_gradient_part_when_it_is_added_to() -> None:
    def outcomes(traced: bool) -> list[object]:
        p, q = dt.Parameter([1.0, 2.0]), dt.Parameter([3.0, 4.0])
        p.grad = q.grad = shared = dt.tensor([10.0, 10.0])

        def step(x):
            before = q.grad
            (p * x + q * 2.0).sum().backward()
            return p.grad * 1, q.grad * 1, before * 1

        run = dt.trace(step) if traced else step
        seen = [bits(run(dt.tensor([1.0, 3.0]))) for _ in range(3)]
        p.grad, q.grad = dt.tensor([1.0, 1.0]), shared
        seen.append(bits(run(dt.tensor([1.0, 3.0]))))
        return [*seen, bits(p.grad), bits(q.grad), bits(shared)]

    assert outcomes(traced=True) == outcomes(traced=False)


@pytest.mark.parametrize("twin", [lambda held: held, lambda held: held.detach()], ids=["itself", "twin"])
@pytest.mark.parametrize("is_zeroed", [False, True], ids=["read", "zeroed"])
def test_a_gradient_that_the_function_also_knows_by_another_name(twin, is_zeroed: bool) -> None:
    def outcomes(traced: bool) -> list[object]:
        p = dt.Parameter([1.0, 2.0])
        p.grad = given = dt.tensor([10.0, 10.0])
        held = twin(given)

        def step(x):
            if is_zeroed:
                held.zero_()
            (p * x).sum().backward()
            return held * 1, p.grad * 1, p.grad - held

        run = dt.trace(step) if traced else step
        return [*[bits(run(dt.tensor([1.0, 3.0]))) for _ in range(4)], bits(held), bits(p.grad)]

    assert outcomes(traced=True) == outcomes(traced=False)


def test_a_gradient_that_is_added_to_may_be_an_argument_too() -> None:
    p = dt.Parameter([1.0, 2.0])
    p.grad = given = dt.tensor([10.0, 10.0])

    @dt.trace
    def step(y):
        (p * y).sum().backward()
        return y * 1, p.grad * 1

    for number in (20.0, 30.0):
        first, second = step(given)
        assert first.tolist() == given.tolist() == [10, 10]
        assert second.tolist() == [number, number]


def test_numbers_taken_out_of_a_gradient_are_those_of_the_present_one() -> None:
    p = dt.Parameter([1.0])
    p.grad = dt.tensor([10.0])

    @dt.trace
    def step(x):
        scale = p.grad.item()
        (p * x).sum().backward()
        return x * scale

    assert [step(dt.ones(1)).item() for _ in range(3)] == [10, 11, 12]
    p.grad = dt.tensor([5.0])
    assert step(dt.ones(1)).item() == 5


def test_gradients_that_nobody_holds_are_added_to_where_they_lie(monkeypatch: pytest.MonkeyPatch) -> None:
    p = dt.Parameter(np.ones(2, np.float32))
    step = dt.trace(lambda x: add(p, x))
    step(dt.ones(2))
    step(dt.ones(2))
    lies = p._grad.array
    monkeypatch.setattr("dtrain.capture.trace.copy_of", lambda array: pytest.fail("a gradient was copied"))
    for _ in range(3):
        step(dt.ones(2))
    assert p._grad.array is lies
    assert len(step.graphs) == 2
    assert p.grad.tolist() == [5, 5]
