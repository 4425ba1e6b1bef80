"""Batch normalization with statistics over the batches of all ranks.

Forward, every rank sends (count, mean, M2) of its part, 2C+1 numbers, and merges all parts in rank order by Chan's
formula (Chan, Golub & LeVeque, 1979); E[x²] − E[x]² is never formed. Backward, one all-reduce of Σdy and Σdy·x̂ (2C
numbers) gives exact input gradients. Inside of a data-parallel model dy is the gradient of the rank's own mean, so the
sums of rank s count n_s, and come out in the unit of each rank's own gradients (`forward_pass`). Elsewhere the losses
of all ranks add up: plain sums. γ and β get this rank's sums either way, and are reduced as all parameters are, by
whoever does it. Ranks may have batches of different sizes, also empty ones.
"""

from __future__ import annotations

from typing import TypeVar

from dtrain.base.device import Device
from dtrain.base.dtype import float32, float64
from dtrain.base.errors import ShapeError, expect_kind, expected
from dtrain.base.tensor_type import TensorType
from dtrain.collectives.ops.collective_ops import all_gather, exchange, weight_of
from dtrain.collectives.training.forward_pass import ForwardPass, current_pass
from dtrain.collectives.world.context import get_communicator, is_initialized
from dtrain.core.apply import apply, apply_tuple
from dtrain.core.tensor import Tensor
from dtrain.graph.op import Op, register_op
from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.call import Call
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.registry import register_kernel
from dtrain.nn.batch_norm import BatchNorm, SyncBatchNorm
from dtrain.nn.module import Module
from dtrain.nn.replacement import replace_modules
from dtrain.opset.batch_norm import MERGE

STATISTICS = "statistics"

AnyModule = TypeVar("AnyModule", bound=Module)


def _combine_infer(
    grad_sums: TensorType, product_sums: TensorType, weight: TensorType | None = None, *, group: str
) -> tuple[TensorType, TensorType]:
    if grad_sums is not product_sums or len(grad_sums.shape) != 1:
        raise ShapeError(expected("sync_batch_norm_sums", "two sums[C] of one type", f"{grad_sums} and {product_sums}"))
    return grad_sums, product_sums


def _run_combine(grad_sums: Array, product_sums: Array, *weight: Array, out: tuple[Array, Array], group: str) -> None:
    both = array_module(grad_sums).concatenate([grad_sums, product_sums])
    with exchange(both, group, "sync_batch_norm_sums") as communicator:
        if weight:
            given = weight_of(weight)
            unit = given[0]
            communicator.all_reduce(
                both, op="sum", out=both, weight=(unit, unit) if isinstance(given, tuple) else given
            )
            # A rank of unit 0 has no elements that would need the sums.
            both /= unit or 1.0 if isinstance(given, tuple) else array_module(both).where(unit > 0, unit, 1.0)
        else:
            communicator.all_reduce(both, out=both)
    channels = grad_sums.shape[0]
    out[0][...], out[1][...] = both[:channels], both[channels:]


# Σ over the ranks of both sums in one message; with the weight f64[2] = (u, n) of a pass Σₛ uₛ·xₛ / u.
COMBINE_SUMS = register_op(
    Op(
        name="sync_batch_norm_sums",
        infer=_combine_infer,
        is_collective=True,
        dtypes=(float32, float64),
        calls=lambda: [Call(inputs=((3,), (3,)), attrs={"group": "world"})],
    )
)
register_kernel(
    Candidate(
        op="sync_batch_norm_sums", name="sync_batch_norm_sums_communicator", isa="reference", function=_run_combine
    )
)


class WorldExchange:
    """How a `SyncBatchNorm` combines its statistics and backward sums over the ranks of a group.

    `forward_pass` is the pass of a data-parallel model that the layer's call belongs to.
    """

    def __init__(self, group: str, forward_pass: ForwardPass | None = None) -> None:
        self.group = group
        self._pass = forward_pass
        if forward_pass is not None:
            forward_pass.has_sync_bn = True

    def combine_statistics(self, stats: Tensor) -> Tensor:
        """The statistics [2C+1] = [count | mean | M2] of all ranks' samples together."""
        return apply(MERGE, all_gather(stats, group=self._lane_for(stats.device)))

    def combine_sums(self, grad_sums: Tensor, product_sums: Tensor) -> tuple[Tensor, Tensor]:
        """The backward sums Σdy and Σdy·x̂, [C] each, over all ranks, in the unit of this rank's gradients."""
        weights = () if self._pass is None else (self._pass.unit_and_weight(grad_sums.device),)
        group = self._lane_for(grad_sums.device)
        combined = apply_tuple(COMBINE_SUMS, grad_sums, product_sums, *weights, group=group)
        return combined[0], combined[1]

    def _lane_for(self, device: Device) -> str:
        """The group's lane for statistics, which are few bytes that a layer waits for: no bucket goes before them."""
        lane = get_communicator(self.group, device=device).lane(STATISTICS)
        return self.group if lane.group == get_communicator(self.group).group else lane.group


def exchange_through_world(layer: SyncBatchNorm) -> WorldExchange | None:
    """The exchange of a layer, or None where it is alone. `SyncBatchNorm.exchange` is set to this."""
    if not is_initialized() or get_communicator(layer.group).size == 1:
        return None
    return WorldExchange(layer.group, current_pass())


def convert_sync_batch_norm(module: AnyModule, *, group: str = "world") -> AnyModule:
    """Replace every BatchNorm in `module` by a SyncBatchNorm that shares its parameters and running statistics.

    Returns the module itself, changed in place; a BatchNorm given directly comes back as a new SyncBatchNorm.
    """
    expect_kind("convert_sync_batch_norm", module, Module, "a module")
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
