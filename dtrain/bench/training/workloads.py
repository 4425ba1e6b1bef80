"""The models that step benchmarks train, with random batches of their input shape."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dtrain import models, nn, optim
from dtrain.base.errors import expected
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.functional import cross_entropy


@dataclass(frozen=True, slots=True)
class Workload:
    """A model to train: how to make it and one rank's batch."""

    build: Callable[[], nn.Module]
    input_shape: Callable[[int], tuple[int, ...]]  # size -> shape of one sample
    num_classes: int
    default_size: int  # pixels a side, or tokens
    vocabulary_size: int | None = None  # of a model whose samples are tokens
    largest_size: int | None = None

    def batch(self, batch_size: int, size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Random inputs, f32 images or s64 tokens, and labels; each rank takes another seed."""
        rng = np.random.default_rng(seed)
        shape = (batch_size, *self.input_shape(size))
        inputs = (
            rng.standard_normal(shape, dtype=np.float32)
            if self.vocabulary_size is None
            else rng.integers(0, self.vocabulary_size, shape)
        )
        labels = rng.integers(0, self.num_classes, batch_size)
        return as_tensor(inputs), as_tensor(labels)


def training_step(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """One step of SGD with momentum on inputs and labels, which returns the loss."""
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step(inputs: Tensor, labels: Tensor) -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _image(size: int) -> tuple[int, ...]:
    return (3, size, size)


def _gray(size: int) -> tuple[int, ...]:
    return (1, size, size)


def _sequence(length: int) -> tuple[int, ...]:
    return (length,)


WORKLOADS = {
    "resnet18": Workload(lambda: models.resnet18(num_classes=10), _image, 10, 64),
    "resnet50": Workload(lambda: models.resnet50(num_classes=10), _image, 10, 64),
    "mobilenet_v2": Workload(lambda: models.mobilenet_v2(num_classes=10), _image, 10, 64),
    "digits_cnn": Workload(models.digits_cnn, _gray, 10, 8),
    "mlp": Workload(models.digits_mlp, _gray, 10, 8),
    "small_transformer": Workload(models.small_transformer, _sequence, 10, 64, vocabulary_size=1000, largest_size=256),
}


def add_size_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of benchmarks that say how large a sample is; `size_of` reads them."""
    parser.add_argument("--image-size", type=int, default=None, help="pixels a side (64; 8 for the digits models)")
    parser.add_argument("--length", type=int, default=None, help="tokens a sample, of small_transformer (64)")


def size_of(args: argparse.Namespace) -> int:
    """Pixels a side or tokens: what is asked for, or the default. Raises ValueError for what the model cannot take."""
    workload = WORKLOADS[args.model]
    sizes = {"--image-size": args.image_size, "--length": args.length}
    flag, other = sizes if workload.vocabulary_size is None else reversed(sizes)
    if sizes[other] is not None:
        raise ValueError(expected(args.model, f"{flag} for the size of its samples", f"{other} {sizes[other]}"))
    size: int = workload.default_size if sizes[flag] is None else sizes[flag]
    if not 1 <= size <= (workload.largest_size or size):
        wanted = "at least 1" if size < 1 else f"at most {workload.largest_size} for {args.model}"
        raise ValueError(expected(flag, wanted, str(size)))
    return size
