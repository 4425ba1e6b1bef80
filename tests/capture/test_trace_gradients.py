"""trace and gradients: what stays behind in `grad` between runs, eager and traced steps mixed."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F


def counted(function):
    """The traced function and a list that grows with every capture."""
    captures: list[int] = []

    def wrapper(*args, **kwargs):
        captures.append(1)
        return function(*args, **kwargs)

    return dt.trace(wrapper), captures


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# Gradients across runs ------------------------------------------------------------------------------------------------


def training(traced: bool, *, zero: bool, num_steps: int = 6):
    """Losses, parameters and gradients of a small net; how often it was captured."""
    random = np.random.default_rng(1)
    first = dt.Parameter(random.normal(size=(8, 16)).astype(np.float32), name="first")
    second = dt.Parameter(random.normal(size=(16, 4)).astype(np.float32), name="second")
    optimizer = dt.optim.SGD([first, second], lr=0.05, momentum=0.9)
    captures: list[int] = []

    def step(x, y):
        captures.append(1)
        if zero:
            optimizer.zero_grad()
        loss = F.cross_entropy(F.relu(x @ first) @ second, y)
        loss.backward()
        optimizer.step()
        return loss

    run = dt.trace(step) if traced else step
    losses = [run(dt.tensor(values(5, 8, seed=i)), dt.arange(5) % 4).numpy().tobytes() for i in range(num_steps)]
    arrays = [tensor.numpy().copy() for p in (first, second) for tensor in (p, p.grad)]
    return losses, [array.tobytes() for array in arrays], len(captures)


@pytest.mark.parametrize("zero", [True, False])
def test_training_is_bitwise_that_of_eager_without_capturing_again(zero: bool) -> None:
    eager, traced = training(False, zero=zero), training(True, zero=zero)
    assert traced[0] == eager[0]
    assert traced[1] == eager[1]
    # Without zero_grad the first step finds no gradient and all others find one.
    assert traced[2] == (1 if zero else 2)


def test_gradients_may_come_from_outside() -> None:
    """Eager backward makes a new gradient tensor at every step; the traced update takes each without a new capture."""
    w = dt.Parameter(np.zeros(2, np.float32))
    optimizer = dt.optim.SGD([w], lr=1.0)
    update, captures = counted(optimizer.step)
    for number in range(1, 5):
        optimizer.zero_grad()
        (w * float(number)).sum().backward()
        update()
    assert w.tolist() == [-10, -10]
    assert len(captures) == 1


def test_zero_grad_alternates_between_two_captures() -> None:
    w = dt.Parameter(np.zeros(1, np.float32))
    step, captures = counted(lambda: (w * 3).sum().backward())
    for _ in range(3):
        w.grad = None
        for wanted in (3, 6, 9):
            step()
            assert w.grad.tolist() == [wanted]
    assert len(captures) == 2


def test_gradients_of_two_leaves_accumulate_apart() -> None:
    """x + y hands one gradient to both; the kept ones must not be one memory."""
    x, y = (dt.Parameter(np.zeros(2, np.float32)) for _ in range(2))
    step = dt.trace(lambda: (x + y).sum().backward())
    for number in range(1, 5):
        step()
        assert x.grad.tolist() == y.grad.tolist() == [number, number]
    assert not np.may_share_memory(x.grad.numpy(), y.grad.numpy())


def test_gradients_can_be_clipped_in_place_inside() -> None:
    def step(x, y):
        (x + y.reshape(2)).sum().backward()
        x.grad.assign_(x.grad * 10)
        y.grad.assign_(y.grad * 100)
        y.grad.assign_(y.grad + 1)

    def run(function):
        x, y = dt.Parameter(np.zeros(2, np.float32)), dt.Parameter(np.zeros((1, 2), np.float32))
        function(lambda: step(x, y))()
        return x.grad.tolist(), y.grad.tolist()

    assert run(dt.trace) == run(lambda f: f) == ([10, 10], [[101, 101]])


def test_unread_gradients_are_replaced_whatever_they_were() -> None:
    w = dt.Parameter(np.ones(1, np.float32))

    @dt.trace
    def clear():
        w.grad = None

    clear()
    w.grad = dt.ones(1)
    clear()
    assert w.grad is None
    assert len(clear.graphs) == 1


class ConvNet(dt.nn.Module):
    """Convolution, batch norm with running statistics, pooling, dropout: everything that keeps state."""

    def __init__(self) -> None:
        self.convolution = dt.nn.Conv2d(2, 6, 3, padding=1)
        self.norm = dt.nn.BatchNorm2d(6)
        self.head = dt.nn.Linear(6 * 4 * 4, 5)

    def forward(self, x):
        hidden = F.max_pool2d(F.relu(self.norm(self.convolution(x))), 2)
        return self.head(F.dropout(hidden.reshape(hidden.shape[0], -1), 0.25, training=self.training))


def conv_training(traced: bool, make_optimizer) -> tuple[list[bytes], list[bytes], int]:
    dt.core.random.seed(3)
    net = ConvNet()
    optimizer = make_optimizer(net.parameters())
    captures: list[int] = []

    def step(x, y):
        captures.append(1)
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        return loss

    run = dt.trace(step) if traced else step
    losses = []
    for number in range(8):
        net.train(number != 5)  # one step in evaluation mode between the others
        batch = 3 if number == 7 else 4  # and a short last batch
        losses.append(run(dt.tensor(values(batch, 2, 8, 8, seed=number)), dt.arange(batch) % 5).numpy().tobytes())
    return losses, [tensor.numpy().tobytes() for tensor in net.state_dict().values()], len(captures)


@pytest.mark.parametrize(
    "make_optimizer",
    [
        lambda parameters: dt.optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-3, nesterov=True),
        lambda parameters: dt.optim.AdamW(parameters, lr=0.01),
    ],
    ids=["sgd", "adamw"],
)
def test_a_convolutional_net_trains_bitwise_as_eagerly(make_optimizer) -> None:
    eager, traced = conv_training(False, make_optimizer), conv_training(True, make_optimizer)
    assert traced[0] == eager[0]
    assert traced[1] == eager[1]
    assert traced[2] == 3, "training, evaluation mode, the short batch"


# Gradients that a run both finds and leaves ---------------------------------------------------------------------------


@pytest.mark.parametrize("between", ["nothing", "swapped", "replaced", "added to"])
def test_gradients_that_the_run_before_has_left_are_read_before_they_are_overwritten(between: str) -> None:
    """They lie in memory of the graph, which a run also uses for what it computes on the way."""

    def results(traced: bool) -> list[np.ndarray]:
        parameters = [dt.Parameter(values(4, 4, seed=seed)) for seed in range(4)]

        def normalize() -> None:
            total = sum((p.grad * p.grad).sum() for p in parameters)
            for p in parameters:
                p.grad = F.matmul(p.grad, p.detach()) / F.sqrt(total)

        for seed, p in enumerate(parameters):
            p.grad = dt.tensor(values(4, 4, seed=9 + seed))
        step = dt.trace(normalize) if traced else normalize
        for i in range(4):
            step()
            if between == "swapped":
                parameters[0].grad, parameters[1].grad = parameters[1].grad, parameters[0].grad
            elif between == "replaced" and i == 1:
                parameters[2].grad = dt.tensor(values(4, 4, seed=5))
            elif between == "added to":
                (parameters[i] * parameters[0]).sum().backward()
        return [p.grad.numpy().copy() for p in parameters]

    for eager, traced in zip(results(False), results(True)):
        np.testing.assert_allclose(traced, eager, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("looked", [lambda p: p.grad, lambda p: p.grad.detach(), lambda p: p.grad.numpy(),
                                    lambda p: p.grad[:1]])  # fmt: skip
def test_gradients_that_somebody_keeps_stay_as_they_are(looked):
    p = dt.Parameter([1.0, 1.0])

    @dt.trace
    def step(x):
        (p * x).sum().backward()

    kept = []
    for number in (1.0, 2.0, 3.0, 4.0):
        step(dt.full((2,), number))
        kept.append(looked(p))
        p.grad = None
    assert [gradient.tolist()[0] for gradient in kept] == [1, 2, 3, 4]


def test_a_gradient_that_was_looked_at_is_added_to():
    p, q = dt.Parameter([1.0]), dt.Parameter([1.0])

    @dt.trace
    def step(x):
        (p * x + q * x).sum().backward()

    seen = []
    for number in (1.0, 2.0, 3.0, 4.0):
        step(dt.full((1,), number))
        seen.append(p.grad.item())
        if number == 2:
            p.grad.mul_(10.0)
    assert seen == [1, 3, 33, 37] and q.grad.item() == 10
    first = p.grad
    p.grad = q.grad = None
    step(dt.ones(1))
    assert first.item() == 37 and p.grad.item() == q.grad.item() == 1


def _clip_norm(p, optimizer):
    dt.optim.clip_grad_norm_([p], 1.0)


def _clip_value(p, optimizer):
    dt.optim.clip_grad_value_([p], 1.0)


def _add_eagerly(p, optimizer):
    p.sum().backward()


@pytest.mark.parametrize("use", [lambda p, optimizer: optimizer.step(), _clip_norm, _clip_value, _add_eagerly])
@pytest.mark.parametrize("kind", [dt.optim.SGD, dt.optim.Adam])
def test_what_updates_and_clips_reads_gradients_where_the_graph_left_them(use, kind, monkeypatch):
    def results(is_traced):
        p = dt.Parameter([1.0, 2.0])
        optimizer = kind([p], lr=0.5)

        def backward(x):
            (p * x).sum().backward()

        run = dt.trace(backward) if is_traced else backward
        seen = []
        for number in (1.0, 2.0, 3.0, 4.0):
            run(dt.full((2,), number))
            use(p, optimizer)
            seen.append((p.numpy().copy(), p._grad.numpy().copy()))
            p.grad = None
        return seen

    expected = results(False)
    monkeypatch.setattr("dtrain.core.tensor.copy_of", lambda array: pytest.fail("a gradient was copied"))
    np.testing.assert_array_equal(results(True), expected)


@pytest.mark.parametrize("clip", [_clip_norm, _clip_value])
def test_clipped_gradients_that_somebody_keeps_stay_as_they_are(clip):
    p = dt.Parameter([1.0, 1.0])

    @dt.trace
    def step(x):
        (p * x).sum().backward()

    kept = []
    for number in (0.125, 0.25, 0.5, 0.0625):  # nothing to clip
        step(dt.full((2,), number))
        clip(p, None)
        kept.append(p.grad)
        p.grad = None
    assert [gradient.tolist()[0] for gradient in kept] == [0.125, 0.25, 0.5, 0.0625]
