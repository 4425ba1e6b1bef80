"""The tensors of a data-parallel model: what it holds, made equal at the begin, and kept equal where a call writes."""

from __future__ import annotations

from collections.abc import Sequence

from dtrain.base.errors import ShapeError, expected
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.memory.bucket import DEFAULT_BUCKET_BYTES
from dtrain.collectives.ops.collective_ops import broadcast
from dtrain.collectives.training.bucketed_reduction import BucketOptions, reduce_packed, weight_of_root
from dtrain.collectives.world.context import communicator_for
from dtrain.core.context import no_grad
from dtrain.core.tensor import Parameter, Tensor
from dtrain.kernels.device_arrays import overwrite
from dtrain.nn.batch_norm import BatchNorm, SyncBatchNorm
from dtrain.nn.module import Module

NamedTensors = Sequence[tuple[str, Tensor]]


class ModelTensors:
    """What a model holds now, each tensor under its first name: in one walk, since every call asks."""

    def __init__(self, module: Module) -> None:
        parameters: dict[Parameter, str] = {}
        buffers: dict[Tensor, str] = {}
        self.layers: list[Module] = []
        self.sync_layers: list[SyncBatchNorm] = []
        self.counts: set[Tensor] = set()  # of calls, which are as many on every rank
        for prefix, layer in module.named_modules():
            self.layers.append(layer)
            start = f"{prefix}." if prefix else ""
            for name, value in layer.members():
                if isinstance(value, Parameter):
                    parameters.setdefault(value, start + name)
            for name in layer._buffers:
                if (value := getattr(layer, name)) is not None:
                    buffers.setdefault(value, start + name)
            if isinstance(layer, SyncBatchNorm):
                self.sync_layers.append(layer)
            if isinstance(layer, BatchNorm) and layer.momentum is not None and layer.num_batches_tracked is not None:
                self.counts.add(layer.num_batches_tracked)
        self.parameters = [(name, parameter) for parameter, name in parameters.items()]
        self.buffers = [(name, buffer) for buffer, name in buffers.items()]


class WrittenBuffers:
    """The buffers that a call overwrites: running statistics of plain batch norm, counters, moving averages.

    Every rank has seen other samples; afterwards all have what rank 0 has. Those of sync-BN are equal by themselves,
    and so are counts of calls.
    """

    def __init__(self, found: ModelTensors, group: str) -> None:
        self._group = group
        shared = {
            buffer
            for layer in found.sync_layers
            if layer.group == group
            for buffer in (layer.running_mean, layer.running_var)
        } | found.counts
        self._before = [(buffer, buffer.version) for _, buffer in found.buffers if buffer not in shared]

    def take_from_root(self) -> None:
        written = [buffer for buffer, version in self._before if buffer.version != version]
        floats = [buffer for buffer in written if buffer.dtype.is_floating]
        with no_grad():
            values = reduce_packed(
                [""] * len(floats),
                [buffer.detach() for buffer in floats],
                "mean",
                self._group,
                BucketOptions(bucket_bytes=DEFAULT_BUCKET_BYTES),
                weight_of_root(self._group),
            )
            for buffer, value in zip(floats, values):
                buffer.assign_(value)
            for buffer in written:
                if not buffer.dtype.is_floating:
                    buffer.assign_(broadcast(buffer.detach(), group=self._group))


def make_equal(named: NamedTensors, communicator: Communicator) -> None:
    """Give every rank the tensors of rank 0."""
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
