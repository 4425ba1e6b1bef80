"""Data parallelism: every rank has the model, each takes its part of the batch, gradients are averaged over samples."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from typing import Any

from dtrain.base.errors import ShapeError, expected
from dtrain.collectives.bucket import DEFAULT_BUCKET_BYTES
from dtrain.collectives.communicator import Communicator
from dtrain.collectives.context import communicator_for, get_communicator
from dtrain.collectives.gradient_averager import BucketOptions, GradientAverager, note_samples
from dtrain.collectives.session import init
from dtrain.core.autograd import add_backward_listener
from dtrain.core.structure import flatten
from dtrain.core.tensor import Tensor
from dtrain.kernels.device_arrays import overwrite
from dtrain.nn.module import Module

BUCKET_VARIABLE = "DTRAIN_FUSION_THRESHOLD_MB"


class DataParallel(Module):
    """A model whose backward passes average gradients over the samples of all ranks. Made by `data_parallel`."""

    def __init__(self, module: Module, averager: GradientAverager) -> None:
        self.module = module
        self.averager = averager
        add_backward_listener(averager)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        tensors, _ = flatten((inputs, options), tensors=lambda item: item if isinstance(item, Tensor) else None)
        if not tensors or not tensors[0].shape:
            given = ", ".join(str(tensor.type) for tensor in tensors) or "no tensor"
            raise ShapeError(expected("data_parallel", "a tensor with a batch axis as first input", given))
        note_samples(tensors[0].shape[0])
        return self.module(*inputs, **options)

    def no_sync(self) -> AbstractContextManager[None]:
        """Accumulate without communication inside: gradients wait, and join the next synchronized backward.

        The sum of the passes' means over samples reaches `grad` then; until then `grad` stays as it is.
        """
        return self.averager.no_sync()

    @property
    def unused_parameters(self) -> list[str]:
        """Names of the parameters that no rank had a gradient for in the last synchronized backward."""
        return self.averager.unused

    def state_dict(self, prefix: str = "") -> dict[str, Tensor]:
        """The state of the model itself, so that checkpoints fit with and without data parallelism."""
        return self.module.state_dict(prefix)

    def load_state_dict(self, *args: Any, **options: Any) -> Any:
        """Load the state of the model itself."""
        return self.module.load_state_dict(*args, **options)


def data_parallel(
    module: Module, *, group: str = "world", bucket_mb: float | None = None, ignore_first: int = 0
) -> Module:
    """Train `module` on all ranks of a group: parameters and buffers are made equal once, gradients averaged.

    Gradients count by samples: the first tensor given to the model has the rank's samples on axis 0, and the loss is
    the mean over them. Ranks may have different numbers of samples, also none. In a world of one the model is
    returned as it is.

    Args:
        bucket_mb: cap of a gradient bucket in MiB, default DTRAIN_FUSION_THRESHOLD_MB or 25; 0 packs nothing.
        ignore_first: keep the first so many gradients of the backward pass out of buckets.

    Raises:
        ShapeError: on every rank, where ranks have built different models.
    """
    communicator = init() if group == "world" else get_communicator(group)
    if communicator.size == 1:
        return module
    _make_equal(module, communicator)
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    options = BucketOptions(cap=_bucket_bytes(bucket_mb), ignore_first=ignore_first)
    return DataParallel(module, GradientAverager(named, group, options))


def _make_equal(module: Module, communicator: Communicator) -> None:
    """Give every rank the parameters and buffers of rank 0."""
    named = [*module.named_parameters(), *module.named_buffers()]
    facts_by_rank = communicator.all_gather_object([f"{name}: {_fact(tensor)}" for name, tensor in named])
    for rank, facts in enumerate(facts_by_rank):
        if facts != facts_by_rank[0]:
            raise ShapeError(
                expected(
                    "data_parallel",
                    "the same parameters and buffers on every rank",
                    _first_difference(rank, facts_by_rank[0], facts),
                    "build the same model on every rank",
                )
            )
    for _, tensor in named:
        array = tensor.concrete("data_parallel")
        overwrite(array, communicator_for(array, communicator.group).broadcast(array, root=0))


def _fact(tensor: Tensor) -> str:
    """The type without the number of the GPU, which is another one on every rank of a host."""
    return str(tensor.type).partition("@")[0] + ("@cuda" if tensor.device.is_cuda else "@cpu")


def _first_difference(rank: int, at_root: list[str], here: list[str]) -> str:
    for mine, other in zip(at_root, here):
        if mine != other:
            return f"{mine} on rank 0 and {other} on rank {rank}"
    return f"{len(at_root)} on rank 0 and {len(here)} on rank {rank}"


def _bucket_bytes(bucket_mb: float | None) -> int:
    text = os.environ.get(BUCKET_VARIABLE, "")
    try:
        chosen = bucket_mb if bucket_mb is not None else float(text) if text else DEFAULT_BUCKET_BYTES / 2**20
    except ValueError:
        chosen = -1.0
    if chosen < 0:
        given = str(bucket_mb) if bucket_mb is not None else f"{BUCKET_VARIABLE}={text}"
        raise ValueError(expected("data_parallel", "a bucket cap of at least 0 MiB", given))
    return int(chosen * 2**20)
