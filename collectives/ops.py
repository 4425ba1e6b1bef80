"""Collectives as ops: differentiable, traceable, and ordinary nodes of a graph.

    op                 forward on rank r                      gradient
    all_reduce         y = x₀ + … + x₍p₋₁₎ (or mean, max …)    the same reduction of the gradients; max/min: where x = y
    all_gather         y = stack of all xᵣ                     reduce_scatter
    reduce_scatter     y = slice r of the sum                  all_gather
    broadcast          y = x of the root                       sum at the root, zero elsewhere
    all_to_all         block s goes to rank s                  all_to_all

Every rank of the group makes the same calls in the same order. `group` is the text of a communicator's group.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dtrain.base.control_channel import control_client
from dtrain.base.device import CPU, Device
from dtrain.base.dtype import ALL
from dtrain.base.errors import ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.collectives import exposed_time
from dtrain.collectives.communicator import Communicator
from dtrain.collectives.context import communicator_for, get_communicator
from dtrain.core.apply import apply, apply_all
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.core.tensor_factory import zeros_like
from dtrain.functional import equal, where
from dtrain.graph.op import Op, Sample, register_op
from dtrain.kernels.registry import Array, KernelInfo, register_kernel

# The registry test runs these alone, where every collective is an identity up to shape.
_ALONE = [Sample(inputs=((1, 3),), attrs={"group": "world"}), Sample(inputs=((1, 0),), attrs={"group": "world"})]
_ALONE_SIZED = [
    Sample(inputs=((1, 3),), attrs={"group": "world", "size": 1}),
    Sample(inputs=((1, 0),), attrs={"group": "world", "size": 1}),
]


def _collective(name: str, **options: Any) -> Op:
    options.setdefault("samples", lambda: _ALONE)
    return register_op(Op(name=name, is_collective=True, dtypes=ALL, **options))


@contextmanager
def _exchange(array: Array, group: str, what: str) -> Iterator[Communicator]:
    """The communicator to call inside; what is called is noted for a verdict, and how long it takes."""
    communicator = communicator_for(array, group)
    client = control_client()
    if client is not None:
        client.progress(communicator.counters.calls, what)
    with exposed_time.measure():
        yield communicator


def _kernel(name: str, function: Any) -> None:
    register_kernel(KernelInfo(op=name, name=f"{name}_communicator", isa="reference", function=function))


# All-reduce -----------------------------------------------------------------------------------------------------------


def _all_reduce_infer(x: TensorType, *, group: str, op: str = "sum", label: str = "", bucket: int = 0) -> TensorType:
    return x


def _all_reduce_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    op, group = node.attrs.get("op", "sum"), node.attrs["group"]
    total = all_reduce(grad, op="mean" if op == "mean" else "sum", group=group)
    if op in ("sum", "mean"):
        return (total,)
    if op == "prod":
        raise NotImplementedError("all_reduce: expected op sum, mean, max or min to differentiate, got prod")
    (x,), (y,) = node.inputs, node.outputs
    return (where(equal(x, y), total, zeros_like(total)),)


ALL_REDUCE = _collective("all_reduce", infer=_all_reduce_infer, grad=_all_reduce_grad, saves_outputs=True)


def _run_all_reduce(x: Array, *, out: Array, group: str, op: str = "sum", label: str = "", bucket: int = 0) -> None:
    with _exchange(x, group, f"all_reduce {label}") as communicator:
        communicator.all_reduce(x, op=op, out=out)


_kernel("all_reduce", _run_all_reduce)


def all_reduce(x: Tensor, *, op: str = "sum", group: str = "world", label: str = "", bucket: int = 0) -> Tensor:
    """Reduce over the ranks of a group; every rank gets the same bits.

    Args:
        op: sum, mean, max, min or prod.
        label: what is reduced (a parameter's name), for plans and messages.
        bucket: bytes up to which the graph pass `pack_all_reduce` may pack this with others; 0 keeps it alone.
    """
    return apply(ALL_REDUCE, x, group=group, op=op, label=label, bucket=bucket)


def _all_reduce_many_infer(
    *xs: TensorType, group: str, op: str, labels: tuple[str, ...] = ()
) -> tuple[TensorType, ...]:
    if len({(x.dtype, x.device) for x in xs}) != 1:
        raise ShapeError(expected("all_reduce_many", "tensors of one dtype and device", ", ".join(map(str, xs))))
    return xs


ALL_REDUCE_MANY = _collective(
    "all_reduce_many",
    infer=_all_reduce_many_infer,
    aliases=lambda attrs: {index: index for index in range(len(attrs["labels"]))},
    contiguous=True,
    allocate=lambda attrs, nbytes, device: bucket_memory(attrs, nbytes, device),
    samples=lambda: [Sample(inputs=((3,), (2, 2)), attrs={"group": "world", "op": "sum", "labels": ("a", "b")})],
)


def _run_all_reduce_many(
    *xs: Array, out: Array | tuple[Array, ...], group: str, op: str, labels: tuple[str, ...] = ()
) -> None:
    outs = out if isinstance(out, tuple) else (out,)
    with _exchange(xs[0], group, f"all_reduce_many of {', '.join(labels[:3])}") as communicator:
        communicator.all_reduce_many(xs, op=op, outs=outs)


_kernel("all_reduce_many", _run_all_reduce_many)


def all_reduce_many(xs: list[Tensor], *, op: str = "sum", group: str = "world", labels: list[str]) -> list[Tensor]:
    """Reduce several tensors of one dtype in one message; not differentiable."""
    return apply_all(ALL_REDUCE_MANY, xs, {"group": group, "op": op, "labels": tuple(labels)})


def bucket_memory(attrs: dict[str, Any], nbytes: int, device: Device = CPU) -> Array:
    """Memory for a packed bucket from its communicator, where collectives need no copy.

    Getting new memory is collective. A bucket's members do not depend on batch shapes, so a rank that compiles a new
    shape alone finds its buckets here and waits for nobody. Graphs share them: contents matter during a run only.
    """
    communicator = get_communicator(attrs["group"], device=device)
    cache = communicator.bucket_memory
    key = (attrs["labels"], attrs["op"], nbytes)
    if key not in cache:
        cache[key] = communicator.allocate(nbytes)
    return cache[key]


# Exchanges ------------------------------------------------------------------------------------------------------------


def _all_gather_infer(x: TensorType, *, group: str, size: int) -> TensorType:
    return x.with_(shape=(size, *x.shape))


def _all_gather_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    (x,) = node.inputs
    rows = reduce_scatter(grad, group=node.attrs["group"])
    return (rows.reshape(x.shape),)


ALL_GATHER = _collective("all_gather", infer=_all_gather_infer, grad=_all_gather_grad, samples=lambda: _ALONE_SIZED)


def _run_all_gather(x: Array, *, out: Array, group: str, size: int) -> None:
    with _exchange(x, group, "all_gather") as communicator:
        communicator.all_gather(x, out=out)


_kernel("all_gather", _run_all_gather)


def all_gather(x: Tensor, *, group: str = "world") -> Tensor:
    """Stack every rank's tensor on a new leading axis: (…) becomes (size, …), in rank order."""
    return apply(ALL_GATHER, x, group=group, size=get_communicator(group).size)


def _reduce_scatter_infer(x: TensorType, *, group: str, size: int) -> TensorType:
    if not x.shape or x.shape[0] % size:
        raise ShapeError(expected("reduce_scatter", f"a leading axis that {size} ranks divide", str(x)))
    return x.with_(shape=(x.shape[0] // size, *x.shape[1:]))


def _reduce_scatter_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    (x,) = node.inputs
    return (all_gather(grad, group=node.attrs["group"]).reshape(x.shape),)


REDUCE_SCATTER = _collective(
    "reduce_scatter", infer=_reduce_scatter_infer, grad=_reduce_scatter_grad, samples=lambda: _ALONE_SIZED
)


def _run_reduce_scatter(x: Array, *, out: Array, group: str, size: int) -> None:
    with _exchange(x, group, "reduce_scatter") as communicator:
        communicator.reduce_scatter(x, out=out)


_kernel("reduce_scatter", _run_reduce_scatter)


def reduce_scatter(x: Tensor, *, group: str = "world") -> Tensor:
    """Sum over the ranks and keep one slice each: rank r gets rows [r·k, (r+1)·k) of the sum of (size·k, …)."""
    return apply(REDUCE_SCATTER, x, group=group, size=get_communicator(group).size)


def _broadcast_infer(x: TensorType, *, group: str, root: int) -> TensorType:
    return x


def _broadcast_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    total = all_reduce(grad, group=node.attrs["group"])
    is_root = get_communicator(node.attrs["group"]).rank == node.attrs["root"]
    return (total if is_root else zeros_like(total),)


BROADCAST = _collective(
    "broadcast",
    infer=_broadcast_infer,
    grad=_broadcast_grad,
    samples=lambda: [Sample(inputs=((2, 3),), attrs={"group": "world", "root": 0})],
)


def _run_broadcast(x: Array, *, out: Array, group: str, root: int) -> None:
    with _exchange(x, group, "broadcast") as communicator:
        communicator.broadcast(x, root=root, out=out)


_kernel("broadcast", _run_broadcast)


def broadcast(x: Tensor, *, root: int = 0, group: str = "world") -> Tensor:
    """The root's tensor on every rank; others give one of the same type."""
    return apply(BROADCAST, x, group=group, root=root)


def _all_to_all_infer(x: TensorType, *, group: str, size: int) -> TensorType:
    if not x.shape or x.shape[0] % size:
        raise ShapeError(expected("all_to_all", f"a leading axis that {size} ranks divide", str(x)))
    return x


def _all_to_all_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (all_to_all(grad, group=node.attrs["group"]),)


ALL_TO_ALL = _collective("all_to_all", infer=_all_to_all_infer, grad=_all_to_all_grad, samples=lambda: _ALONE_SIZED)


def _run_all_to_all(x: Array, *, out: Array, group: str, size: int) -> None:
    with _exchange(x, group, "all_to_all") as communicator:
        communicator.all_to_all(x, out=out)


_kernel("all_to_all", _run_all_to_all)


def all_to_all(x: Tensor, *, group: str = "world") -> Tensor:
    """Cut x into `size` equal blocks along axis 0; block s goes to rank s, and rank s's block r comes to rank r."""
    return apply(ALL_TO_ALL, x, group=group, size=get_communicator(group).size)


def weighted_mean(value: Tensor, count: int, *, group: str = "world") -> Tensor:
    """Σᵣ countᵣ·valueᵣ / Σᵣ countᵣ over the ranks; a rank with count 0 may hold any value, also NaN.

    For losses and metrics that each rank has averaged over its own samples.
    """
    from dtrain.core.tensor_factory import full
    from dtrain.functional import stack

    weighted = value.detach() * float(count) if count else zeros_like(value)
    total = all_reduce(
        stack([weighted, full(value.shape, float(count), dtype=value.dtype, device=value.device)]), group=group
    )
    return total[0] / total[1]


__all__ = [
    "all_gather", "all_reduce", "all_reduce_many", "all_to_all", "broadcast", "reduce_scatter", "weighted_mean",
]  # fmt: skip
