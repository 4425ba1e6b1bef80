"""The models that the step benchmark trains, with random batches of their input shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dtrain import models, nn, optim
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.functional import cross_entropy


@dataclass(frozen=True, slots=True)
class Workload:
    """A model to train: how to make it and one rank's batch."""

    build: Callable[[], nn.Module]
    input_shape: Callable[[int], tuple[int, ...]]  # image size -> shape of one sample
    num_classes: int
    default_image_size: int

    def batch(self, batch_size: int, image_size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Random inputs and labels; each rank takes another seed."""
        rng = np.random.default_rng(seed)
        inputs = rng.standard_normal((batch_size, *self.input_shape(image_size)), dtype=np.float32)
        labels = rng.integers(0, self.num_classes, batch_size)
        return as_tensor(inputs), as_tensor(labels)


def training_step(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """One step of SGD with momentum on images and labels, which returns the loss."""
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step(images: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _image(size: int) -> tuple[int, ...]:
    return (3, size, size)


def _gray(size: int) -> tuple[int, ...]:
    return (1, size, size)


WORKLOADS = {
    "resnet18": Workload(lambda: models.resnet18(num_classes=10), _image, 10, 64),
    "resnet50": Workload(lambda: models.resnet50(num_classes=10), _image, 10, 64),
    "mobilenet_v2": Workload(lambda: models.mobilenet_v2(num_classes=10), _image, 10, 64),
    "digits_cnn": Workload(models.digits_cnn, _gray, 10, 8),
    "mlp": Workload(models.digits_mlp, _gray, 10, 8),
}
