"""Writes into tensors with a history: right gradients, or an error; traced as eagerly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.base.errors import TraceError


class World:
    """Two leaves that require gradients, and a buffer that does not."""

    def __init__(self) -> None:
        self.x = dt.Parameter(np.array([1.0, 2.0, 3.0], np.float32))
        self.w = dt.Parameter(np.array([4.0, 5.0, 6.0], np.float32))
        self.buffer = dt.zeros((2, 3))


def assign(world: World) -> dt.Tensor:
    y = world.x * 2
    y.assign_(world.w * 4)
    return y.sum()


def assign_a_leaf(world: World) -> dt.Tensor:
    y = world.x * 2
    y.assign_(world.w)
    y *= 3
    return y.sum()


def multiply(world: World) -> dt.Tensor:
    y = world.x * 2
    y *= world.w
    y *= y
    return y.sum()


def write_after_an_op_that_does_not_read(world: World) -> dt.Tensor:
    y = world.x * 2
    z = y + world.w
    y += 1
    return (y * z).sum()


def columns(world: World) -> dt.Tensor:
    y = F.stack([world.x, world.w]) * 1.0
    y[0] = y[1]
    y[:, 1] = y[:, 0].clone() * y[:, 2].clone()
    y[0] += 5.0
    y[1, 1:] *= world.x[1:]
    return (y * y).sum()


def fill_a_buffer(world: World) -> dt.Tensor:
    world.buffer.zero_()
    for row in range(2):
        world.buffer[row] = world.x * world.w * (row + 1)
    world.buffer[1] += world.w
    return (world.buffer * world.buffer).sum()


def pick(world: World) -> dt.Tensor:
    y = world.x * world.w
    y[dt.tensor([0, 2])] = world.w[:2] * 7
    y[dt.tensor([1, 1])] *= 2
    return (y * y).sum()


def through_views(world: World) -> dt.Tensor:
    y = F.stack([world.x, world.w]) * 1.0
    y.transpose(1, 0)[0] += world.x[:2]
    y.reshape(6)[1:3].mul_(world.w[:2])
    return (y * y).sum()


def without_recording(world: World) -> dt.Tensor:
    y = world.x * 2
    with dt.no_grad():
        y += 10
    return (y * world.w).sum()


def whole_overwritten(world: World) -> dt.Tensor:
    y = world.x * 2
    y.zero_()
    y += world.w
    return (y * y).sum()


def old_views_of_written_tensors(world: World) -> dt.Tensor:
    y = F.stack([world.x, world.w]) * 1.0
    rows, inner = [y[0], y[1]], y[1][1:]
    rows[0] *= world.w
    rows[1] += rows[0].clone()
    y *= 2.0
    return (rows[0].clone() * rows[1]).sum() + inner.sum()


def old_views_of_a_buffer(world: World) -> dt.Tensor:
    world.buffer.zero_()
    with dt.no_grad():
        row = world.buffer[0]
    column = world.buffer.transpose(1, 0)[1]
    world.buffer += world.x * world.w
    return (row * row).sum() + (column * 3.0).sum()


def views_of_what_lost_its_history(world: World) -> dt.Tensor:
    y = world.x * 2
    part = y[1:]
    y.assign_(dt.tensor([1.0, 2.0, 3.0]))
    return (part * world.w[1:]).sum()


# Read in a trace, such views raise.
EAGER = [old_views_of_written_tensors, old_views_of_a_buffer, views_of_what_lost_its_history]

# What x and w get, where a formula is short enough.
FORMULAS: list[tuple[Callable[[World], dt.Tensor], list[float] | None, list[float]]] = [
    (assign, None, [4, 4, 4]),
    (assign_a_leaf, None, [3, 3, 3]),
    (multiply, [8 * 1 * 16, 8 * 2 * 25, 8 * 3 * 36], [8 * 4 * 1, 8 * 5 * 4, 8 * 6 * 9]),
    (write_after_an_op_that_does_not_read, [2 * (6 + 3), 2 * (9 + 5), 2 * (12 + 7)], [3, 5, 7]),
    (without_recording, [8, 10, 12], [12, 14, 16]),
    (whole_overwritten, None, [8, 10, 12]),
]
PROGRAMS = [*(program for program, *_ in FORMULAS), columns, fill_a_buffer, pick, through_views]


def gradients(program: Callable[[World], dt.Tensor], world: World, *, traced: bool) -> list[object]:
    def step() -> dt.Tensor:
        world.x.grad = world.w.grad = None
        loss = program(world)
        loss.backward()
        return loss

    loss = (dt.trace(step) if traced else step)()
    return [loss.tolist(), *(None if leaf.grad is None else leaf.grad.tolist() for leaf in (world.x, world.w))]


def numeric(program: Callable[[World], dt.Tensor], name: str) -> np.ndarray:
    """Central differences; f32 squares of small whole numbers leave enough digits."""
    slopes = []
    for place in range(3):
        values = []
        for sign in (1, -1):
            world = World()
            getattr(world, name).numpy()[place] += sign * 0.125
            values.append(program(world).item())
        slopes.append((values[0] - values[1]) / 0.25)
    return np.array(slopes)


@pytest.mark.parametrize("program", EAGER)
def test_old_views_in_a_trace_are_refused(program):
    with pytest.raises(TraceError, match="take the view again after the update"):
        gradients(program, World(), traced=True)


@pytest.mark.parametrize("program", [*PROGRAMS, *EAGER])
def test_gradients_are_those_of_differences(program):
    _, of_x, of_w = gradients(program, World(), traced=False)
    for name, found in (("x", of_x), ("w", of_w)):
        slopes = numeric(program, name)
        np.testing.assert_allclose(np.zeros(3) if found is None else found, slopes, rtol=5e-3, atol=2e-2)


@pytest.mark.parametrize(("program", "of_x", "of_w"), FORMULAS)
def test_gradients_are_those_of_the_formula(program, of_x, of_w):
    assert gradients(program, World(), traced=False)[1:] == [of_x, of_w]


@pytest.mark.parametrize("program", PROGRAMS)
def test_traced_as_eagerly(program):
    eager, traced = World(), World()
    assert gradients(program, eager, traced=False) == gradients(program, traced, traced=True)
    assert np.array_equal(eager.buffer.numpy(), traced.buffer.numpy())
    assert not traced.buffer.requires_grad and traced.buffer.is_leaf  # the history of a graph ends with it


def test_a_read_before_the_write_is_refused_where_its_rule_needs_the_elements():
    x = dt.Parameter([1.0, 2.0])
    y = x * 2
    z = y * y
    y += 1
    with pytest.raises(RuntimeError, match="the inputs of mul unchanged since forward"):
        z.sum().backward()
    y = F.exp(x)
    z = y + 1
    with dt.no_grad():
        y.zero_()
    with pytest.raises(RuntimeError, match="the outputs of exp unchanged since forward"):
        z.sum().backward()


def test_an_overwritten_output_is_noticed_after_its_tensor_is_gone():
    x = dt.Parameter([1.0, 2.0])
    y = F.exp(x)
    with dt.no_grad():
        y += 1
    z = y.square()
    del y
    with pytest.raises(RuntimeError, match="the outputs of exp unchanged since forward"):
        z.sum().backward()


LAYERS = {
    "relu": F.relu,
    "sigmoid": F.sigmoid,
    "exp": F.exp,
    "softmax": lambda x: F.softmax(x, -1),
    "log_softmax": lambda x: F.log_softmax(x, -1),
    "layer_norm": lambda x: F.layer_norm(x, (4,), dt.ones(4) * 2, dt.ones(4)),
    "max_pool": lambda x: F.max_pool2d(x.reshape((1, 1, 4, 4)), 3, 1, 1)[0, 0],
    "sort": lambda x: x.sort(0).values,
    "max": lambda x: x.amax(0, keepdims=True),
    "cumsum": lambda x: x.cumsum(0),
}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_results_of_layers_may_be_written_into(name, traced):
    """As in a residual block: out = layer(x); out += skip; out[0] *= 2."""
    found = []
    for in_place in (False, True):
        x = dt.Parameter(np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32))

        def loss(x=x, in_place=in_place):
            x.grad = None
            y = LAYERS[name](x * 1.0)
            if in_place:
                y += y * 0.5 + 1
                y[0] *= 2.0
                y.clamp_(-3.0, 3.0)
            else:
                y = y + (y * 0.5 + 1)
                y = F.set_item(y, 0, y[0] * 2.0)
                y = F.clip(y, -3.0, 3.0)
            total = (y * y).sum()
            total.backward()
            return total

        total = (dt.trace(loss) if traced and in_place else loss)()
        found.append((total.item(), x.grad.tolist()))
    assert found[0] == found[1]


def test_a_leaf_takes_numbers_but_no_history():
    p, w = dt.Parameter([1.0, 2.0]), dt.Parameter([3.0, 4.0])
    p.assign_(dt.tensor([5.0, 6.0]))
    assert p.tolist() == [5, 6] and p.requires_grad and p.is_leaf
    for write in (lambda: p.assign_(w * 2), lambda: p.assign_(w), lambda: p[0].assign_(dt.tensor(1.0))):
        with pytest.raises(RuntimeError, match="a leaf that requires gradients"):
            write()
    for write in (lambda: p[0].zero_(), lambda: p[:1].add_(1), lambda: p.reshape(2, 1).mul_(2)):
        with pytest.raises(RuntimeError, match="a view of a leaf that requires gradients"):
            write()
    assert p.tolist() == [5, 6]


def test_everyday_updates_by_hand():
    p = dt.Parameter([1.0, 2.0])
    (p * p).sum().backward()
    before = p
    with dt.no_grad():
        p -= 0.5 * p.grad
        assert p is before and p.tolist() == [0, 0]
        p[0] = 7
        p[...] += 1
        p.grad.zero_()
    assert p.tolist() == [8, 1] and p.grad.tolist() == [0, 0] and p.requires_grad


def test_data_reads_and_sets():
    p = dt.Parameter([1.0, 2.0])
    assert not p.data.requires_grad and p.data.array is p.array
    p.data -= 1
    p.data[0] = 5
    p.data.mul_(2)
    assert p.tolist() == [10, 2]
    p.data = dt.tensor([3.0, 4.0, 5.0])
    assert p.tolist() == [3, 4, 5] and p.shape == (3,) and p.requires_grad and p.is_leaf
    for wrong in (dt.tensor([1]), np.ones(2), 3.0):
        with pytest.raises(TypeError, match=r"x\.data = y: expected a f32 tensor"):
            p.data = wrong
    loss = (p * p).sum()
    p.data = dt.tensor([1.0, 1.0, 1.0])
    with pytest.raises(RuntimeError, match="unchanged since forward"):
        loss.backward()


def test_data_in_a_traced_function():
    p = dt.Parameter([1.0, 2.0])

    @dt.trace
    def step(x):
        p.data -= x
        p.data = p.data * 2
        return p.data + 0

    assert step(dt.tensor([1.0, 1.0])).tolist() == [0, 2] == p.tolist()
    assert step(dt.tensor([1.0, 1.0])).tolist() == [-2, 2] == p.tolist()


def test_updates_by_hand_in_a_traced_function():
    def train(traced: bool) -> list[float]:
        p = dt.Parameter(np.array([1.0, -2.0], np.float32))

        def step(x):
            p.grad = None
            loss = (p * x).square().sum()
            loss.backward()
            with dt.no_grad():
                p.sub_(p.grad, alpha=0.125)
                p[0] += 0.5
            return loss

        run = dt.trace(step) if traced else step
        return [*(run(dt.tensor([float(n), 1.0])).item() for n in range(4)), *p.tolist()]

    assert train(True) == train(False)


def test_a_view_that_was_read_before_another_write_is_refused_in_a_trace():
    def stale(x):
        x.assign_(x * 2)
        view = x[0]
        x.assign_(x * 2)
        return view + 1

    with pytest.raises(TraceError, match="views and detached twins to be read before"):
        dt.trace(stale)(dt.ones(2))


def test_detach_in_place():
    x = dt.Parameter([1.0])
    y = x * 2
    assert y.detach_() is y and not y.requires_grad and y.is_leaf
    y += 1
    assert y.tolist() == [3]


def test_a_tensor_takes_no_unknown_attribute():
    for tensor in (dt.ones(2), dt.Parameter([1.0])):
        with pytest.raises(AttributeError, match="requires_gradd"):
            tensor.requires_gradd = True
