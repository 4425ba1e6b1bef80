"""Horovod's words: `import dtrain.collectives.horovod as hvd` in the place of `import horovod.torch as hvd`.

Averages are over ranks, as Horovod's are: every rank counts the same, whatever its batch. `dist.data_parallel`
averages over samples instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dtrain.autograd.function import Function
from dtrain.base import names as _names
from dtrain.base.cuda import is_cuda_available
from dtrain.base.errors import expected
from dtrain.collectives.communicator.work import Work
from dtrain.collectives.horovod import groups
from dtrain.collectives.horovod.optimizer import averaging
from dtrain.collectives.ops import collective_ops as ops
from dtrain.collectives.public import calls, session
from dtrain.collectives.public import world_calls as world
from dtrain.collectives.world import context
from dtrain.collectives.world.availability import is_mpi_available, is_nccl_available
from dtrain.collectives.world.missed_calls import counted
from dtrain.core.tensor import Parameter, Tensor, as_tensor
from dtrain.core.tensor_factory import zeros
from dtrain.functional import cat
from dtrain.optim.optimizer import Optimizer

Average, Sum, Min, Max, Product = "mean", "sum", "min", "max", "prod"


class _Compressions(type):
    """What scripts ask `Compression` for."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(expected("hvd.Compression", "none", name, _COMPRESSION_ADVICE))


class Compression(metaclass=_Compressions):
    """Gradients travel in their own dtype; the name is taken for scripts that give it."""

    none = None


_COMPRESSION_ADVICE = "there is no compression: leave it out, or train with .to('bf16')"


def init(*args: Any, **options: Any) -> None:
    """Join the world."""
    session.init()


shutdown = context.finalize
is_initialized = context.is_initialized
rank = context.rank
size = context.world_size
local_rank = world.local_rank
local_size = world.local_world_size
barrier = world.barrier


def _op(average: bool | None, op: str | None) -> str:
    if average is not None and op is not None:
        raise ValueError(expected("allreduce", "average or op", "both"))
    return op or ("mean" if average in (None, True) else "sum")


@counted
def allreduce(
    tensor: Any,
    average: bool | None = None,
    name: str = "",
    compression: Any = None,
    op: Any = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: Any = None,
) -> Tensor:
    """The average over the ranks, or what `op` says, as a new tensor; gradients flow.

    Args:
        prescale_factor, postscale_factor: what floats are multiplied by before and after it.
    """
    _check_compression(compression)
    _check_process_set(process_set)
    scaled = _scaled(as_tensor(tensor), prescale_factor)
    return _scaled(ops.all_reduce(scaled, op=_op(average, op), group="world", label=name or ""), postscale_factor)


def allreduce_(
    tensor: Tensor, average: bool | None = None, name: str = "", op: Any = None, *rest: Any, **options: Any
) -> Tensor:
    """`allreduce` into the tensor itself, with the same options behind `op`; there is no compression."""
    calls.put(tensor, allreduce(tensor, average, name, None, op, *rest, **options))
    return tensor


def allreduce_async(tensor: Any, *arguments: Any, **options: Any) -> Work[Any]:
    """`allreduce_async_` of a copy, which `synchronize` gives."""
    return allreduce_async_(as_tensor(tensor).detach().clone(), *arguments, **options)


@counted
def allreduce_async_(
    tensor: Tensor,
    average: bool | None = None,
    name: str = "",
    op: Any = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: Any = None,
) -> Work[Any]:
    """`allreduce_` that returns at once; `synchronize` waits for it."""
    _check_process_set(process_set)
    if postscale_factor != 1.0:
        advice = "multiply after hvd.synchronize(), or write prescale_factor"
        raise ValueError(expected("allreduce_async_", "postscale_factor of 1.0", str(postscale_factor), advice))
    if prescale_factor != 1.0:
        calls.put(tensor, _scaled(tensor.detach(), prescale_factor))
    work: Work[Any] = calls.all_reduce(tensor, _op(average, op), async_op=True)
    return work


def _scaled(tensor: Tensor, factor: float) -> Tensor:
    if factor == 1.0:
        return tensor
    if not tensor.dtype.is_floating:
        advice = "convert it with .to('f32') first"
        raise TypeError(expected("allreduce", "a tensor of floats to scale", str(tensor.type), advice))
    return tensor * factor


def _check_process_set(process_set: Any) -> None:
    if process_set is not None:
        advice = "write dist.all_reduce(x, group=dist.new_group(ranks))"
        raise ValueError(expected("horovod", "no process_set: all ranks take part", repr(process_set), advice))


def synchronize(work: Work[Any] | groups.GroupWork) -> Any:
    """Wait for an asynchronous call."""
    return work.wait()


def poll(work: Work[Any] | groups.GroupWork) -> bool:
    """Whether an asynchronous call has ended."""
    return work.is_completed()


# Several tensors, and rows shared out ---------------------------------------------------------------------------------


@counted
def grouped_allreduce(
    tensors: Sequence[Any],
    average: bool | None = None,
    name: str = "",
    compression: Any = None,
    op: Any = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
    process_set: Any = None,
) -> list[Tensor]:
    """`allreduce` of each tensor of a list, in one message for each dtype, as new tensors; gradients flow."""
    _check_compression(compression)
    _check_process_set(process_set)
    scaled = [_scaled(each, prescale_factor) for each in groups.checked("grouped_allreduce", tensors)]
    reduced = groups.reduce_together(scaled, _op(average, op), name or "")
    return [_scaled(each, postscale_factor) for each in reduced]


def grouped_allreduce_(
    tensors: Sequence[Tensor], average: bool | None = None, name: str = "", op: Any = None, *rest: Any, **options: Any
) -> list[Tensor]:
    """`grouped_allreduce` into the tensors themselves, with the same options behind `op`; there is no compression."""
    for tensor, result in zip(tensors, grouped_allreduce(tensors, average, name, None, op, *rest, **options)):
        calls.put(tensor, result)
    return list(tensors)


def grouped_allreduce_async(tensors: Sequence[Any], *arguments: Any, **options: Any) -> groups.GroupWork:
    """`grouped_allreduce_async_` of copies, which `synchronize` gives."""
    copies = [each.detach().clone() for each in groups.checked("grouped_allreduce_async", tensors)]
    return grouped_allreduce_async_(copies, *arguments, **options)


@counted
def grouped_allreduce_async_(
    tensors: Sequence[Tensor],
    average: bool | None = None,
    name: str = "",
    op: Any = None,
    process_set: Any = None,
) -> groups.GroupWork:
    """`grouped_allreduce_` that returns at once; `synchronize` waits for it and gives the tensors."""
    _check_process_set(process_set)
    return groups.begin_together(groups.checked("grouped_allreduce_async_", tensors), _op(average, op))


@counted
def alltoall(tensor: Any, splits: Any = None, name: str = "", process_set: Any = None) -> Any:
    """Rows for every rank, and those that every rank has for this one, in rank order; gradients flow.

    Args:
        splits: how many rows go to each rank; as many each by default. With it (rows, how many came from each: s32).
    """
    _check_process_set(process_set)
    return groups.exchange_rows(as_tensor(tensor), splits)


@counted
def reducescatter(
    tensor: Any,
    op: Any = Average,
    compression: Any = None,
    name: str = "",
    process_set: Any = None,
    prescale_factor: float = 1.0,
    postscale_factor: float = 1.0,
) -> Tensor:
    """This rank's share of the rows of the average over the ranks, or of the sum; gradients flow.

    Where rows do not divide by the ranks, the first ranks get one more.
    """
    _check_compression(compression)
    _check_process_set(process_set)
    return _scaled(groups.reduce_rows(_scaled(as_tensor(tensor), prescale_factor), op), postscale_factor)


class _RankAverage(Function):
    """The tensor as it is. Its gradient, which arrives as a sum over the ranks, is divided by their number."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return x

    def backward(self, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient / size()


def _averaging_gradients(tensor: Tensor) -> Tensor:
    """Horovod's gradients are averages, in line with what `DistributedOptimizer` does behind them."""
    return _RankAverage()(tensor) if tensor.requires_grad else tensor


@counted
def allgather(tensor: Tensor, name: str = "") -> Tensor:
    """Every rank's tensor joined along axis 0, where the ranks' sizes may differ.

    The gradient is the average over the ranks of what each has for these rows, as Horovod's is;
    `dist.all_gather` gives the sum.
    """
    tensor = _averaging_gradients(as_tensor(tensor))
    if not tensor.shape:
        raise ValueError(
            expected("allgather", "a tensor with at least one axis", str(tensor.type), "reshape it to (1,)")
        )
    calls.expect_untraced("allgather", "write dist.all_gather(x), whose ranks have one shape, or move it out")
    counts = context.get_communicator().all_gather_object(tensor.shape[0])
    longest = max(counts)
    missing = longest - tensor.shape[0]
    filled = (
        cat([tensor, zeros((missing, *tensor.shape[1:]), dtype=tensor.dtype, device=tensor.device)])
        if missing
        else tensor
    )
    rows = ops.all_gather(filled)
    return cat([rows[rank][:count] for rank, count in enumerate(counts)])


@counted
def broadcast(tensor: Any, root_rank: int, name: str = "") -> Tensor:
    """The root's tensor on every rank, as a new tensor. The root's gradient is the average over the ranks."""
    return ops.broadcast(_averaging_gradients(as_tensor(tensor)), root=root_rank)


def broadcast_(tensor: Tensor, root_rank: int, name: str = "") -> Tensor:
    """`broadcast` into the tensor itself."""
    calls.put(tensor, broadcast(tensor, root_rank))
    return tensor


def broadcast_parameters(params: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]], root_rank: int = 0) -> None:
    """Give every rank the root's tensors: a state dict, or named parameters."""
    for _, tensor in params.items() if isinstance(params, Mapping) else params:
        broadcast_(tensor, root_rank)


def broadcast_optimizer_state(optimizer: Optimizer, root_rank: int = 0) -> None:
    """Give every rank the root's settings and state of the optimizer."""
    state = context.get_communicator().broadcast_object(
        optimizer.state_dict() if rank() == root_rank else None, root=root_rank
    )
    if rank() != root_rank:
        optimizer.load_state_dict(state)


def broadcast_object(value: Any = None, root_rank: int = 0, name: str = "") -> Any:
    """The root's object on every rank."""
    return world.broadcast_object(value, root=root_rank)


def allgather_object(value: Any, name: str = "") -> list[Any]:
    """Every rank's object, in rank order."""
    values: list[Any] = world.all_gather_object(value)
    return values


def _check_compression(compression: Any) -> None:
    if compression is not None:
        given = getattr(compression, "__name__", repr(compression))
        raise ValueError(expected("horovod", "no compression", given, _COMPRESSION_ADVICE))


# The optimizer --------------------------------------------------------------------------------------------------------


def DistributedOptimizer(
    optimizer: Optimizer,
    named_parameters: Iterable[tuple[str, Parameter]] | None = None,
    compression: Any = None,
    backward_passes_per_step: int = 1,
    op: str = Average,
    gradient_predivide_factor: float = 1.0,
) -> Any:
    """The same optimizer, which from now on averages gradients over the ranks before each step.

    Every rank makes the same steps; a parameter without a gradient on a rank counts as zero there. Gradients of
    several backward passes add up in `grad` until the step, however many there are. `gradient_predivide_factor` says
    which part of the division of an average comes before the sum: the average is the same.
    """
    _check_compression(compression)
    if gradient_predivide_factor != 1.0 and op != Average:
        raise ValueError(expected("DistributedOptimizer", "op Average with gradient_predivide_factor", repr(op)))
    optimizer.__class__ = averaging(type(optimizer), op)
    optimizer.parameter_names = {p: name for name, p in named_parameters or ()}
    return optimizer


def _never() -> bool:
    """Never: ranks of dtrain do not talk through it."""
    return False


def mpi_threads_supported() -> bool:
    """Whether several threads of a rank may call MPI: always."""
    return True


nccl_built = is_nccl_available
cuda_built = is_cuda_available
mpi_built = mpi_enabled = is_mpi_available
gloo_built = gloo_enabled = ccl_built = ddl_built = rocm_built = _never


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return _names.lookup("hvd", name, globals())
