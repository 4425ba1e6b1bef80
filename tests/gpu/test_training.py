"""Training steps on a GPU: losses and parameters of the CPU, repeatable, with the own kernels in the graph."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.device_training import OPTIMIZERS, train

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("net", ["small", "resnet18"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_traced_steps_are_those_of_the_cpu(net: str, optimizer: str, gpu: str) -> None:
    # In f64: Adam divides gradients by their size, so that in f32 the rounding of a layer decides about signs.
    wanted, _ = train(net, optimizer, "cpu", steps=3, dtype="f64")
    got, _ = train(net, optimizer, gpu, steps=3, dtype="f64")
    np.testing.assert_allclose(got, wanted, rtol=1e-7)


@pytest.mark.parametrize("net", ["small", "resnet18"])
def test_the_first_loss_in_f32_is_that_of_the_cpu(net: str, gpu: str) -> None:
    wanted, _ = train(net, "sgd", "cpu", steps=1)
    got, _ = train(net, "sgd", gpu, steps=1)
    np.testing.assert_allclose(got, wanted, rtol=1e-4)


def test_runs_repeat_bitwise(gpu: str) -> None:
    first_losses, first = train("small", "sgd", gpu, steps=3)
    again_losses, again = train("small", "sgd", gpu, steps=3)
    assert again_losses == first_losses
    for name, array in first.items():
        assert again[name].tobytes() == array.tobytes(), name


def test_eager_is_traced(gpu: str) -> None:
    traced, _ = train("small", "adam", gpu, steps=2)
    eager, _ = train("small", "adam", gpu, steps=2, traced=False)
    np.testing.assert_allclose(eager, traced, rtol=1e-5)
