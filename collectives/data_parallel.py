"""Data parallelism: every rank has the model, each takes its part of the batch, gradients are averaged over samples.

    rank r:  loss_r = mean over its n_r samples          seed of backward: n_r
             n_r·∂loss_r/∂w  ──all-reduce──▶  Σ n_r·∂loss_r/∂w  ──÷ Σ n_r──▶  gradient of the mean over all samples

A rank's weight n_r is in the gradient from the first line of the backward pass on, so that sync-BN, whose backward
sums over ranks on the way, is exact too. Σ n_r rides in the gradient buckets. Ranks may have different n_r, also 0.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from dtrain.base.errors import ShapeError, expected
from dtrain.collectives.bucket import DEFAULT_BUCKET_BYTES, divide
from dtrain.collectives.context import get_communicator, init
from dtrain.collectives.ops import all_reduce, all_reduce_many
from dtrain.core.autograd import Gradients, add_backward_listener
from dtrain.core.context import is_tracing
from dtrain.core.structure import flatten
from dtrain.core.tensor import Parameter, Tensor
from dtrain.core.tensor_factory import full, zeros_like
from dtrain.nn import Module

BUCKET_VARIABLE = "DTRAIN_FUSION_THRESHOLD_MB"


class DataParallel(Module):
    """A model whose backward passes average gradients over the samples of all ranks. Made by `data_parallel`."""

    def __init__(self, module: Module, group: str, bucket_bytes: int, ignore_first: int) -> None:
        super().__init__()
        self.module = module
        self.group = group
        self.bucket_bytes = bucket_bytes
        self.ignore_first = ignore_first
        self._named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
        self._synchronizing = True
        self._local_count = 0
        self._pending: dict[Parameter, Tensor] = {}
        self._pending_count = 0
        self._pending_passes = 0
        self.unused_parameters: list[str] = []
        add_backward_listener(self)

    def forward(self, *inputs: Any, **options: Any) -> Any:
        tensors, _ = flatten((inputs, options), tensors=lambda item: item if isinstance(item, Tensor) else None)
        if not tensors or not tensors[0].shape:
            raise ShapeError(
                expected("data_parallel", "a tensor with a batch axis as first input", repr([t.type for t in tensors]))
            )
        self._local_count = tensors[0].shape[0]
        return self.module(*inputs, **options)

    def state_dict(self, *args: Any, **options: Any) -> Any:
        """The state of the model itself, so that checkpoints fit with and without data parallelism."""
        return self.module.state_dict(*args, **options)

    def load_state_dict(self, *args: Any, **options: Any) -> Any:
        """Load the state of the model itself."""
        return self.module.load_state_dict(*args, **options)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Accumulate without communication inside: gradients wait here and join the next synchronized backward.

        The sum over the passes of their sample means reaches `grad` then; until then `grad` stays as it is.
        """
        for _, parameter in self._named:
            if parameter not in self._pending:
                self._pending[parameter] = zeros_like(parameter.detach())
        before, self._synchronizing = self._synchronizing, False
        try:
            yield
        finally:
            self._synchronizing = before

    # BackwardListener -----------------------------------------------------------------------------------------------

    def before_backward(self, root: Tensor, seed: Tensor) -> Tensor:
        return seed * float(self._local_count)

    def after_backward(self, gradients: Gradients) -> Gradients:
        mine = {parameter: gradients.pop(parameter) for _, parameter in self._named if parameter in gradients}
        if not self._synchronizing:
            for parameter, gradient in mine.items():
                self._pending[parameter].assign_(self._pending[parameter] + gradient)
            self._pending_count += self._local_count
            self._pending_passes += 1
            return gradients
        gradients.update(self._average(self._with_pending(mine)))
        return gradients

    def _with_pending(self, mine: Gradients) -> Gradients:
        if not self._pending_passes:
            return mine
        return {
            parameter: mine[parameter] + waiting if parameter in mine else waiting.detach()
            for parameter, waiting in self._pending.items()
        }

    def _average(self, mine: Gradients) -> Gradients:
        """Sum over the ranks in one fixed order of parameters, the last layer first, and divide by the samples."""
        count, passes = self._local_count + self._pending_count, 1 + self._pending_passes
        used = self._agree_on_used(mine)
        order = [(name, parameter) for name, parameter in reversed(self._named) if parameter in used]
        full_list = [mine[p] if p in mine else zeros_like(p.detach()) for _, p in order]
        summed = self._sum([name for name, _ in order], [p for _, p in order], full_list, float(count) / passes)
        if self._pending_passes:
            for waiting in self._pending.values():
                waiting.assign_(zeros_like(waiting))
            self._pending_count = self._pending_passes = 0
        return {parameter: value for (_, parameter), value in zip(order, summed)}

    def _agree_on_used(self, mine: Gradients) -> set[Parameter]:
        """The parameters that any rank has a gradient for.

        While tracing every rank's graph says it, and ranks compare graphs; eagerly one small message asks.
        """
        if is_tracing():
            used = set(mine)
        else:
            flags = np.array([parameter in mine for _, parameter in self._named], np.int32)
            anywhere = get_communicator(self.group).all_reduce(flags, op="max")
            used = {parameter for (_, parameter), flag in zip(self._named, anywhere) if flag}
        self.unused_parameters = [name for name, parameter in self._named if parameter not in used]
        return {parameter for parameter in used if isinstance(parameter, Parameter)}

    def _sum(self, names: list[str], parameters: list[Parameter], values: list[Tensor], count: float) -> list[Tensor]:
        totals: dict[int, Tensor] = {}
        local = [i for i, parameter in enumerate(parameters) if not parameter.gradient_is_global]
        by_dtype: dict[str, list[int]] = {}
        for position in local:
            by_dtype.setdefault(values[position].dtype.tag, []).append(position)
        reduce = self._reduce_traced if is_tracing() else self._reduce_eagerly
        for positions in by_dtype.values():
            reduced = reduce([names[i] for i in positions], [values[i] for i in positions])
            totals.update(zip(positions, reduced))
        total_count = self._total_count(values, count)
        return [
            totals.get(i, value)
            / (total_count[value.dtype.tag] if value.dtype.tag in total_count else total_count["f32"])
            for i, value in enumerate(values)
        ]

    def _total_count(self, values: list[Tensor], count: float) -> dict[str, Tensor]:
        """Samples over all ranks, in f64 where gradients are f64. As one more member of the buckets it costs nothing."""
        tags = {"f64" if value.dtype.tag == "f64" else "f32" for value in values} or {"f32"}
        counts = {}
        for tag in sorted(tags):
            local = full((), count, dtype=tag)
            counts[tag] = all_reduce(
                local, group=self.group, label="samples", bucket=self.bucket_bytes if is_tracing() else 0
            )
        return counts

    def _reduce_traced(self, names: list[str], values: list[Tensor]) -> list[Tensor]:
        """One all-reduce per gradient; the graph pass `pack_all_reduce` merges them."""
        return [
            all_reduce(
                value, group=self.group, label=name, bucket=self.bucket_bytes if position >= self.ignore_first else 0
            )
            for position, (name, value) in enumerate(zip(names, values))
        ]

    def _reduce_eagerly(self, names: list[str], values: list[Tensor]) -> list[Tensor]:
        if not self.bucket_bytes:
            return [all_reduce(value, group=self.group, label=name) for name, value in zip(names, values)]
        alone = [all_reduce(v, group=self.group, label=n) for n, v in list(zip(names, values))[: self.ignore_first]]
        rest, rest_names = values[self.ignore_first :], names[self.ignore_first :]
        for part in divide([value.type.nbytes for value in rest], self.bucket_bytes):
            alone += all_reduce_many([rest[i] for i in part], group=self.group, labels=[rest_names[i] for i in part])
        return alone


def data_parallel(
    module: Module, *, group: str = "world", bucket_mb: float | None = None, ignore_first: int = 0
) -> Module:
    """Train `module` on all ranks of a group: parameters and buffers are made equal once, gradients averaged.

    Gradients count by samples: the first tensor given to the model has the rank's batch as axis 0, and the loss is
    the mean over it. In a world of one the model is returned as it is.

    Args:
        bucket_mb: cap of a gradient bucket in MiB, default DTRAIN_FUSION_THRESHOLD_MB or 25; 0 packs nothing.
        ignore_first: leave the first so many gradients out of buckets, so that communication starts early.
    """
    communicator = init() if group == "world" else get_communicator(group)
    if communicator.size == 1:
        return module
    with_state = [*(p for _, p in module.named_parameters()), *(b for _, b in module.named_buffers())]
    arrays = [tensor.concrete("data_parallel") for tensor in with_state]
    shapes = [str(tensor.type) for tensor in with_state]
    _check_same_model(communicator.all_gather_object(shapes))
    for array in arrays:
        array[...] = communicator.broadcast(array, root=0)
    return DataParallel(module, group, _bucket_bytes(bucket_mb), ignore_first)


def _bucket_bytes(bucket_mb: float | None) -> int:
    if bucket_mb is None:
        text = os.environ.get(BUCKET_VARIABLE, "")
        bucket_mb = float(text) if text else DEFAULT_BUCKET_BYTES / 2**20
    if bucket_mb < 0:
        raise ValueError(expected("data_parallel", "a bucket_mb of at least 0", str(bucket_mb)))
    return int(bucket_mb * 2**20)


def _check_same_model(shapes_by_rank: list[list[str]]) -> None:
    for rank, shapes in enumerate(shapes_by_rank):
        if shapes != shapes_by_rank[0]:
            different = next(
                (f"number {i} is {b} on rank {rank}, {a} on rank 0" for i, (a, b) in
                 enumerate(zip(shapes_by_rank[0], shapes)) if a != b),
                f"rank {rank} has {len(shapes)}, rank 0 has {len(shapes_by_rank[0])}",
            )  # fmt: skip
            raise ShapeError(
                expected("data_parallel", "the same parameters on every rank", different, "build the same model")
            )
