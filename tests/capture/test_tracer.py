"""Tracer: states, updates, twins, and code that cannot be captured."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.base.errors import ShapeError, TraceError


def here(offset: int) -> str:
    """This file and the line `offset` below the caller's, as messages name it."""
    frame = inspect.currentframe().f_back
    return rf"test_tracer\.py:{frame.f_lineno + offset}"


def state(*numbers: float) -> dt.Tensor:
    return dt.tensor(list(numbers), dtype="f32")


# States ---------------------------------------------------------------------------------------------------------------


def test_states_are_read_anew_at_every_run() -> None:
    w = state(2)
    scale = dt.trace(lambda x: x * w)
    assert scale(dt.ones(1)).tolist() == [2]
    w.numpy()[...] = 5
    assert scale(dt.ones(1)).tolist() == [5]
    w.assign_(state(7))
    assert scale(dt.ones(1)).tolist() == [7]
    assert len(scale.graphs) == 1


def test_updates_are_seen_inside_and_written_back() -> None:
    """Release note: f(): add_update(x, 1); return x + 1 gives 2, 3, …"""
    x = state(0)

    @dt.trace
    def step():
        x.assign_(x + 1)
        return x + 1

    assert [step().item() for _ in range(3)] == [2, 3, 4]
    assert x.tolist() == [3]
    assert step.graphs[0].updates.keys() == {0}


def test_two_states_swap() -> None:
    a, b = state(1, 2), state(3, 4)

    @dt.trace
    def swap():
        before = dt.tensor(a)
        a.assign_(b)
        b.assign_(before)

    for wanted in (([3, 4], [1, 2]), ([1, 2], [3, 4])):
        swap()
        assert (a.tolist(), b.tolist()) == wanted


def test_three_states_rotate_and_one_changes() -> None:
    def rotate(a, b, c):
        before = dt.tensor(a)
        a.assign_(b)
        b.assign_(c * 2)
        c.assign_(before)
        return a + b

    def run(wrap):
        tensors = [state(1), state(10), state(100)]
        function = wrap(lambda: rotate(*tensors))
        results = [function().item() for _ in range(4)]
        return results, [tensor.item() for tensor in tensors]

    assert run(dt.trace) == run(lambda f: f)


def test_a_state_can_be_a_result_before_and_after_its_update() -> None:
    w = state(1)

    @dt.trace
    def step():
        old = dt.tensor(w)
        w.assign_(w * 2)
        return old, w

    old, new = step()
    assert (old.tolist(), new.tolist(), w.tolist()) == ([1], [2], [2])
    assert new is not w
    step()
    assert new.tolist() == [2], "a result has memory of its own"


def test_one_value_updates_two_states() -> None:
    a, b = state(0), state(0)

    @dt.trace
    def step(x):
        y = x * 3
        a.assign_(y)
        b.assign_(y)
        return y

    assert step(state(2)).tolist() == [6]
    assert (a.tolist(), b.tolist()) == ([6], [6])
    a.assign_(state(0))
    assert b.tolist() == [6]


def test_a_state_takes_an_argument_or_a_constant() -> None:
    a, b = state(0), state(0)

    @dt.trace
    def step(x):
        a.assign_(x)
        b.assign_(dt.tensor([9.0]))

    x = state(4)
    step(x)
    x.assign_(state(5))
    assert (a.tolist(), b.tolist()) == ([4], [9])


def test_detached_twins_are_one_state() -> None:
    w = state(1)
    twin = w.detach()

    @dt.trace
    def step():
        w.detach().assign_(twin + 1)
        return w + 0

    assert [step().item() for _ in range(3)] == [2, 3, 4]
    assert step.graphs[0].num_states == 1


def test_an_exchanged_array_is_noticed() -> None:
    w = state(1)
    run = dt.trace(lambda: w.detach() * 10)
    assert run().tolist() == [10]
    w.array = np.array([4], np.float32)
    assert run().tolist() == [40]
    w.array = np.array([5], np.float32)
    assert run().tolist() == [50]
    assert len(run.graphs) == 1, "binding anew needs no new capture"


def test_twins_that_part_are_captured_anew() -> None:
    w = state(1)
    twin = w.detach()
    run = dt.trace(lambda: w + twin)
    assert run().tolist() == [2]
    w.array = np.array([10], np.float32)
    assert run().tolist() == [11]


def test_states_with_gaps_are_read_and_written() -> None:
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    w = dt.as_tensor(base.T[::2])

    @dt.trace
    def step():
        w.assign_(w.reshape(-1).reshape(2, 3) * 2)
        return F.exp(w * 0)

    assert step().tolist() == [[1, 1, 1], [1, 1, 1]]
    assert base.tolist() == [[0, 1, 4, 3], [8, 5, 12, 7], [16, 9, 20, 11]]


def test_updated_states_must_not_overlap() -> None:
    memory = np.zeros(4, np.float32)
    whole, part = dt.as_tensor(memory), dt.as_tensor(memory[:2])

    @dt.trace
    def step():
        whole.assign_(whole + 1)
        return part + 0

    with pytest.raises(TraceError, match="tensors that it updates to share memory with no other that it reads"):
        step()
    whole.data, part.data = dt.ones((4,)), dt.ones((2,))
    assert step().tolist() == [1, 1] and whole.tolist() == [2] * 4, "what was refused is captured anew"
    first, second = dt.as_tensor(memory[:2]), dt.as_tensor(memory[2:])
    dt.trace(lambda: (first.assign_(first + 1), second.assign_(second + 2)))()
    assert memory.tolist() == [1, 1, 2, 2], "neighbours in one buffer are fine"


@pytest.mark.parametrize("update", [lambda s, x: s.add_(x), lambda s, x: s.T.mul_(x), lambda s, x: s[0].add_(x[0])])
def test_a_situation_that_was_refused_leaves_nothing_behind(update) -> None:
    """The capture of a view writes into its base, which the state has left since."""
    s, x = dt.arange(8, dtype="f32").reshape(4, 2)[:2], dt.ones((2, 2)) * 2
    step = dt.trace(lambda x: update(s, x))
    with pytest.raises(TraceError, match="share memory with no other"):
        step(x)
    s.data = dt.ones((2, 2)) * 3
    wanted = s.copy()
    update(wanted, x)
    step(x)
    assert s.tolist() == wanted.tolist()


def test_copies_inside_are_of_the_moment() -> None:
    w = state(1)

    @dt.trace
    def step(x):
        snapshot, copied = dt.tensor(w), x.copy()
        w.assign_(w + x)
        x.assign_(x * 0)
        return snapshot, copied

    snapshot, copied = step(state(5))
    assert (snapshot.tolist(), copied.tolist(), w.tolist()) == ([1], [5], [6])


# What cannot be captured ----------------------------------------------------------------------------------------------


def test_a_branch_on_values_names_its_line() -> None:
    @dt.trace
    def step(x):
        if x.sum() > 0:
            return x
        return -x

    wanted = here(-4) + r": expected a tensor that holds numbers, got bool\[\]@cpu inside a traced function"
    with pytest.raises(TraceError, match="a Python branch on a tensor's value at " + wanted):
        step(dt.ones(2))


@pytest.mark.parametrize(
    ("use", "name"),
    [
        (lambda x: x.numpy(), r"numpy\(\)"),
        (lambda x: x.item(), r"item\(\)"),
        (lambda x: x.tolist(), r"tolist\(\)"),
        (lambda x: float(x), r"float\(\)"),
        (lambda x: int(x), r"int\(\)"),
        (lambda x: [1, 2][x.to("s64")], "an index"),
        (lambda x: np.asarray(x), r"numpy\(\)"),
        (lambda x: x.__dlpack__(), r"__dlpack__\(\)"),
        (lambda x: dt.Parameter(x), r"Parameter\(\)"),
    ],
)
def test_reading_numbers_is_refused(use, name: str) -> None:
    with pytest.raises(TraceError, match=name + r" at test_tracer\.py:\d+: expected a tensor that holds numbers"):
        dt.trace(use)(dt.ones(()))


def test_dynamic_shapes_are_refused() -> None:
    with pytest.raises(TraceError, match=r"nonzero at test_tracer\.py:\d+: expected an op whose output shape follows"):
        dt.trace(lambda x: F.nonzero(x))(dt.ones(2))


def test_leaked_tensors_are_refused_everywhere() -> None:
    kept: list[dt.Tensor] = []

    @dt.trace
    def leak(x):
        kept.append(x * 2)
        return x

    leak(dt.ones(2))
    with pytest.raises(TraceError, match="mul at " + here(1) + r".*f32\[2\]@cpu left over from a traced function"):
        kept[0] * 2
    with pytest.raises(TraceError, match="left over from another traced function"):
        dt.trace(lambda x: x + kept[0])(dt.ones(2))
    with pytest.raises(TraceError, match="a traced function's argument"):
        leak(kept[0])
    with pytest.raises(TraceError, match=r"assign_\(\)"):
        dt.ones(2).assign_(kept[0])
    assert "symbolic" in repr(kept[0])


def test_views_of_what_was_overwritten_are_refused() -> None:
    def stale(x):
        view = x.reshape(2)
        x.assign_(x * 2)
        return view + 1

    with pytest.raises(TraceError, match="views and detached twins to be read before what they share memory with"):
        dt.trace(stale)(dt.ones((1, 2)))
    w = dt.ones((1, 2))
    with pytest.raises(TraceError, match="take the view again after the update, or copy"):
        dt.trace(lambda: stale(w))()


def test_twins_of_what_was_overwritten_are_refused() -> None:
    def stale(x):
        y = x * 2
        twin = y.detach()
        y.assign_(x)
        return twin

    with pytest.raises(TraceError, match="views and detached twins"):
        dt.trace(stale)(dt.ones(2))


@pytest.mark.parametrize("detached", [lambda view: view.detach(), lambda view: view.detach_()])
def test_detached_views_of_what_was_overwritten_are_refused(detached) -> None:
    def stale(x):
        x.add_(1)
        view = x.reshape(2)
        x.add_(1)
        return detached(view) * 1

    with pytest.raises(TraceError, match="views and detached twins"):
        dt.trace(stale)(dt.ones((1, 2)))


def test_writing_through_a_view_writes_what_it_shows() -> None:
    def through(x):
        x.reshape(2).assign_(dt.zeros(2))
        return x

    x = dt.ones((1, 2))
    assert dt.trace(through)(x).tolist() == x.tolist() == [[0, 0]]

    def through_a_view_of_a_view(x):
        x.transpose(1, 0).reshape(2).assign_(dt.ones(2))

    dt.trace(through_a_view_of_a_view)(x)
    assert x.tolist() == [[1, 1]]


def test_a_view_taken_again_is_fine() -> None:
    def step(x):
        x.assign_(x * 2)
        return x.reshape(2) + 1

    x = dt.ones((1, 2))
    assert dt.trace(step)(x).tolist() == [3, 3]


# Errors leave nothing behind ------------------------------------------------------------------------------------------


def test_an_error_inside_restores_gradients_and_the_thread() -> None:
    w = dt.Parameter(np.ones(2, np.float32))
    (w * 5).sum().backward()
    before = w.grad

    @dt.trace
    def step(x, fail):
        w.grad = None
        (w * x).sum().backward()
        if fail:
            x + dt.ones(3)
        return x

    with pytest.raises(ShapeError, match="add"):
        step(dt.ones(2), True)
    assert w.grad is before
    assert w.array.tolist() == [1, 1]
    assert not dt.is_tracing()
    assert dt.is_grad_enabled()
    assert (w + 1).tolist() == [2, 2], "eager calls work again"
    step(dt.ones(2), False)
    assert w.grad.tolist() == [1, 1]
    assert len(step.graphs) == 1


def test_an_error_of_a_kernel_names_the_traced_line() -> None:
    indices = dt.tensor([0, 1])
    table = dt.tensor([[1.0], [2.0]])
    look_up = dt.trace(lambda: F.embedding(indices, table))
    assert look_up().tolist() == [[1], [2]]
    indices.assign_(dt.tensor([0, 7]))
    with pytest.raises(ShapeError, match="index values") as caught:
        look_up()
    notes = getattr(caught.value, "__notes__", [])
    if hasattr(caught.value, "add_note"):  # Python 3.11
        assert any("traced from test_tracer.py:" in note for note in notes)
    indices.assign_(dt.tensor([1, 0]))
    assert look_up().tolist() == [[2], [1]]


def test_an_array_of_another_type_is_refused() -> None:
    w = state(1)
    run = dt.trace(lambda: w + 0)
    run()
    w.array = np.zeros(1, np.int64)
    with pytest.raises(TraceError, match=r"state .*of type f32\[1\]@cpu, got an array of shape \(1,\) and dtype int64"):
        run()
    w.array = np.ones(1, np.float32)
    assert run().tolist() == [1]
