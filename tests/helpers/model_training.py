"""One short training run, eagerly or traced, for the tests of all models."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import dtrain as dt
import dtrain.functional as F
from dtrain import nn, optim
from dtrain.core.random import seed


def train(
    make: Callable[[], nn.Module], inputs: np.ndarray, labels: np.ndarray, *, traced: bool, steps: int, lr: float
) -> tuple[list[float], dict[str, np.ndarray]]:
    """The losses of some steps on one batch, and the state at the end."""
    seed(0)
    model = make()
    optimizer = optim.SGD(model.parameters(), lr, momentum=0.9, weight_decay=1e-4)

    def step(inputs: dt.Tensor, labels: dt.Tensor) -> dt.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        return loss

    run = dt.trace(step) if traced else step
    losses = [run(dt.tensor(inputs), dt.tensor(labels)).item() for _ in range(steps)]
    if traced:
        assert len(run.graphs) == 1, "captured again"
    return losses, {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def check_training(
    make: Callable[[], nn.Module], inputs: np.ndarray, labels: np.ndarray, *, steps: int, lr: float
) -> None:
    """The loss falls, and eager and traced runs agree bitwise."""
    eager, eager_state = train(make, inputs, labels, traced=False, steps=steps, lr=lr)
    traced, traced_state = train(make, inputs, labels, traced=True, steps=steps, lr=lr)
    assert eager[-1] < 0.8 * eager[0]
    assert traced == eager
    assert traced_state.keys() == eager_state.keys()
    for name, array in eager_state.items():
        np.testing.assert_array_equal(traced_state[name], array, err_msg=name)


def images(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images f32 [count, 3, size, size] and labels below 10."""
    random = np.random.default_rng(0)
    return random.standard_normal((count, 3, size, size)).astype(np.float32), random.integers(0, 10, count)
