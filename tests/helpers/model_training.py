"""One short training run, eagerly and traced, for the tests of all models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import dtrain as dt
import dtrain.functional as F
from dtrain import nn, optim

State = dict[str, np.ndarray]


def check_training(
    make: Callable[[], nn.Module], inputs: np.ndarray, labels: np.ndarray, *, steps: int, lr: float
) -> None:
    """The loss falls, and eager and traced runs from the same state agree bitwise."""
    dt.seed(0)
    model = make()
    begin = state_of(model)
    eager = train(model, inputs, labels, traced=False, steps=steps, lr=lr)
    eager_state = state_of(model)
    model.load_state_dict(begin)
    traced = train(model, inputs, labels, traced=True, steps=steps, lr=lr)
    assert min(eager) < 0.8 * eager[0], "small batches jump: roundings alone decide whether the last step is the best"
    assert traced == eager
    for name, array in state_of(model).items():
        np.testing.assert_array_equal(array, eager_state[name], err_msg=name)


def train(
    model: nn.Module, inputs: np.ndarray, labels: np.ndarray, *, traced: bool, steps: int, lr: float
) -> list[float]:
    """The losses of some steps on one batch."""
    dt.seed(1)
    optimizer = optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=1e-4)

    def step(inputs: dt.Tensor, labels: dt.Tensor) -> dt.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        return loss

    run = dt.trace(step) if traced else step
    losses = [run(dt.tensor(inputs), dt.tensor(labels)).item() for _ in range(steps)]
    if isinstance(run, dt.TracedFunction):
        assert len(run.graphs) == 1, "captured again"
    optimizer.zero_grad()
    return losses


def state_of(model: nn.Module) -> State:
    """Copies of all parameters and buffers."""
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def images(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images f32 [count, 3, size, size] and labels below 10."""
    random = np.random.default_rng(0)
    return random.standard_normal((count, 3, size, size)).astype(np.float32), random.integers(0, 10, count)
