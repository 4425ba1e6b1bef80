"""Batch normalization with statistics over the batches of all ranks.

Forward, every rank sends (count, mean, M2) of its part, 2C+1 numbers, and merges all parts in rank order by Chan's
formula (Chan, Golub & LeVeque, 1979); E[x²] − E[x]² is never formed. Backward, one all-reduce of Σdy and Σdy·x̂ (2C
numbers) gives exact input gradients, and γ and β gradients that are complete already: data_parallel leaves them out of
its buckets. Ranks may have batches of different sizes, also empty ones.
"""

from __future__ import annotations

from typing import TypeVar

from dtrain.collectives.context import get_communicator, is_initialized
from dtrain.collectives.ops import all_gather, all_reduce
from dtrain.core.apply import apply
from dtrain.core.tensor import Tensor
from dtrain.functional import stack
from dtrain.nn.batch_norm import BatchNorm, SyncBatchNorm
from dtrain.nn.module import Module, replace_modules
from dtrain.ops.batch_norm import MERGE

AnyModule = TypeVar("AnyModule", bound=Module)


class WorldExchange:
    """How a `SyncBatchNorm` combines its statistics and backward sums over the ranks of a group."""

    def __init__(self, group: str) -> None:
        self.group = group

    def combine_statistics(self, stats: Tensor) -> Tensor:
        """The statistics [2C+1] = [count | mean | M2] of all ranks' samples together."""
        return apply(MERGE, all_gather(stats, group=self.group))

    def combine_sums(self, grad_sums: Tensor, product_sums: Tensor) -> tuple[Tensor, Tensor]:
        """The backward sums Σdy and Σdy·x̂, [C] each, over all ranks: one message."""
        combined = all_reduce(stack([grad_sums, product_sums]), group=self.group)
        return combined[0], combined[1]


def exchange_through_world(layer: SyncBatchNorm) -> WorldExchange | None:
    """The exchange of a layer, or None where it is alone. `SyncBatchNorm.exchange` is set to this."""
    if not is_initialized() or get_communicator(layer.group).size == 1:
        return None
    return WorldExchange(layer.group)


def convert_sync_batch_norm(module: AnyModule, *, group: str = "world") -> AnyModule:
    """Replace every BatchNorm in `module` by a SyncBatchNorm that shares its parameters and running statistics.

    Returns the module itself, changed in place; a BatchNorm given directly comes back as a new SyncBatchNorm.
    """
    if isinstance(module, SyncBatchNorm):
        return module
    if isinstance(module, BatchNorm):
        return SyncBatchNorm.from_batch_norm(module, group=group)  # type: ignore[return-value]

    def replace(layer: Module) -> Module | None:
        if not isinstance(layer, BatchNorm) or isinstance(layer, SyncBatchNorm):
            return None
        return SyncBatchNorm.from_batch_norm(layer, group=group)

    replace_modules(module, replace)
    return module
