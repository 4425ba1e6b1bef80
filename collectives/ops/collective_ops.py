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

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from dtrain.base.dtype import ALL, float64
from dtrain.base.errors import ShapeError, expect_kind, expected
from dtrain.base.tensor_type import TensorType
from dtrain.collectives import exposed_time
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.passes.pack_all_reduce import pack_all_reduce
from dtrain.collectives.world.context import communicator_for, get_communicator
from dtrain.collectives.world.missed_calls import counted
from dtrain.control.client import control_client
from dtrain.core.apply import apply, apply_all
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor
from dtrain.core.tensor_factory import zeros_like
from dtrain.functional import equal, logical_or, not_equal, stack, where
from dtrain.graph.op import Op, register_op
from dtrain.kernels.array_module import Array
from dtrain.kernels.call import Call
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.registry import register_kernel
from dtrain.passes.eliminate_common_subexpressions import eliminate_common_subexpressions
from dtrain.passes.pipeline import Pass, register_pass_for
from dtrain.runtime.buckets import BUCKET_MEMBERS

# The registry test runs these alone, where every collective is an identity up to shape.
_ALONE = [Call(inputs=((1, 3),), attrs={"group": "world"}), Call(inputs=((1, 0),), attrs={"group": "world"})]
_ALONE_SIZED = [
    Call(inputs=((1, 3),), attrs={"group": "world", "size": 1}),
    Call(inputs=((1, 0),), attrs={"group": "world", "size": 1}),
]


def _collective(name: str, **options: Any) -> Op:
    options.setdefault("calls", lambda: _ALONE)
    return register_op(Op(name=name, is_collective=True, dtypes=ALL, **options))


@contextmanager
def exchange(array: Array, group: str, what: str) -> Iterator[Communicator]:
    """The communicator to call inside; what is called is noted for a verdict, and how long it takes."""
    communicator = communicator_for(array, group)
    client = control_client()
    if client is not None:
        client.progress(communicator.counters.calls, what)
    with exposed_time.measure():
        yield communicator


def _kernel(name: str, function: Any) -> None:
    register_kernel(Candidate(op=name, name=f"{name}_communicator", isa="reference", function=function))


# All-reduce -----------------------------------------------------------------------------------------------------------


def _all_reduce_infer(
    x: TensorType,
    weight: TensorType | None = None,
    *,
    group: str,
    op: str = "sum",
    label: str = "",
    bucket_bytes: int = 0,
    bunch: int = 0,
) -> TensorType:
    _check_weight("all_reduce", weight)
    return x


def _check_weight(where: str, weight: TensorType | None) -> None:
    if weight is not None and (weight.shape != (2,) or weight.dtype is not float64):
        raise ShapeError(expected(where, "a weight f64[2]", str(weight)))


def _all_reduce_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor | None, ...]:
    op, group, weights = node.attrs.get("op", "sum"), node.attrs["group"], node.inputs[1:]
    total = all_reduce(grad, op="mean" if op == "mean" else "sum", group=group, weight=weights[0] if weights else None)
    if op in ("sum", "mean"):
        return (total, *[None] * len(weights))
    if op == "prod":
        raise NotImplementedError("all_reduce: expected op sum, mean, max or min to differentiate, got prod")
    x, (y,) = node.inputs[0], node.outputs
    return (_where_chosen(x, y, total),)


def _where_chosen(x: Tensor, extremum: Tensor, grad: Tensor) -> Tensor:
    """The gradient of those elements of this rank that are the extremum, which NaN is wherever it stands."""
    return where(logical_or(equal(x, extremum), not_equal(x, x)), grad, zeros_like(grad))


ALL_REDUCE = _collective("all_reduce", infer=_all_reduce_infer, grad=_all_reduce_grad, saves_outputs=True)
register_pass_for(
    ALL_REDUCE,
    Pass(pack_all_reduce, "behind common subexpressions, so that no gradient is sent twice"),
    after=eliminate_common_subexpressions,
)


def weight_of(arrays: Sequence[Array]) -> Any:
    """The weight f64[2] as a communicator takes it: numbers, or where it lies on a device the array itself."""
    if not arrays:
        return None
    (pair,) = arrays
    return (float(pair[0]), float(pair[1])) if isinstance(pair, np.ndarray) else pair


def _run_all_reduce(
    x: Array,
    *weight: Array,
    out: Array,
    group: str,
    op: str = "sum",
    label: str = "",
    bucket_bytes: int = 0,
    bunch: int = 0,
) -> None:
    with exchange(x, group, f"all_reduce {label}") as communicator:
        communicator.all_reduce(x, op=op, out=out, weight=weight_of(weight))


_kernel("all_reduce", _run_all_reduce)


@counted
def all_reduce(
    x: Tensor,
    *,
    op: str = "sum",
    group: str = "world",
    label: str = "",
    bucket_bytes: int = 0,
    bunch: int = 0,
    weight: Tensor | None = None,
) -> Tensor:
    """Reduce over the ranks of a group; every rank gets the same bits.

    Args:
        op: sum, mean, max, min or prod.
        label: what is reduced (a parameter's name), for plans and messages.
        bucket_bytes: bytes up to which the graph pass `pack_all_reduce` may pack this with others; 0 keeps it alone.
        bunch: only all-reduces of one number are packed together. Those of a number above 0 follow each other, in an
            order that is the same on all ranks, and none depends on another.
        weight: f64[2] beside x, (w, n) of this rank: Σ w·x, and the mean Σ w·x / Σ n. Gradients are reduced with the
            same weights: they are in units of the rank's own mean.
    """
    weights = () if weight is None else (weight,)
    attrs = {"group": group, "op": op, "label": label, "bucket_bytes": bucket_bytes}
    return apply(ALL_REDUCE, x, *weights, **attrs, **({"bunch": bunch} if bunch else {}))


def _all_reduce_many_infer(*inputs: TensorType, group: str, op: str, labels: tuple[str, ...]) -> tuple[TensorType, ...]:
    xs, weights = inputs[: len(labels)], inputs[len(labels) :]
    for weight in weights:
        _check_weight("all_reduce_many", weight)
    if len({(x.dtype, x.device) for x in xs}) != 1:
        raise ShapeError(expected("all_reduce_many", "tensors of one dtype and device", ", ".join(map(str, xs))))
    return xs


def _all_reduce_many_grad(node: TapeNode, *grads: Tensor) -> tuple[Tensor | None, ...]:
    op, labels = node.attrs["op"], node.attrs["labels"]
    if op not in ("sum", "mean"):
        raise NotImplementedError(f"all_reduce_many: expected op sum or mean to differentiate, got {op}")
    weights = node.inputs[len(labels) :]
    reduced = all_reduce_many(
        list(grads), op=op, group=node.attrs["group"], labels=list(labels), weight=weights[0] if weights else None
    )
    return (*reduced, *[None] * len(weights))


ALL_REDUCE_MANY = _collective(
    "all_reduce_many",
    infer=_all_reduce_many_infer,
    grad=_all_reduce_many_grad,
    aliases=lambda attrs: {index: index for index in range(len(attrs["labels"]))},
    calls=lambda: [
        Call(inputs=((3,), (2, 2)), attrs={"group": "world", "op": "sum", "labels": ("a", "b")}, tags=("no gradient",))
    ],
)


BUCKET_MEMBERS.register(ALL_REDUCE_MANY, lambda node: node.inputs[: len(node.attrs["labels"])])


def first_of(labels: tuple[str, ...]) -> str:
    """The first few labels of a message, for people."""
    return ", ".join(filter(None, labels[:3])) or f"{len(labels)} tensors"


def _run_all_reduce_many(
    *inputs: Array, out: Array | tuple[Array, ...], group: str, op: str, labels: tuple[str, ...]
) -> None:
    outs = out if isinstance(out, tuple) else (out,)
    xs, weight = inputs[: len(labels)], inputs[len(labels) :]
    with exchange(xs[0], group, f"all_reduce_many of {first_of(labels)}") as communicator:
        communicator.all_reduce_many(xs, op=op, outs=outs, weight=weight_of(weight))


_kernel("all_reduce_many", _run_all_reduce_many)


def all_reduce_many(
    xs: list[Tensor], *, op: str = "sum", group: str = "world", labels: list[str], weight: Tensor | None = None
) -> list[Tensor]:
    """Reduce several tensors of one dtype in one message; `labels` names each, `weight` is as in `all_reduce`."""
    inputs = xs if weight is None else [*xs, weight]
    return apply_all(ALL_REDUCE_MANY, inputs, {"group": group, "op": op, "labels": tuple(labels)})


# Exchanges ------------------------------------------------------------------------------------------------------------


def _all_gather_infer(x: TensorType, *, group: str, size: int) -> TensorType:
    return x.with_(shape=(size, *x.shape))


def _all_gather_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    (x,) = node.inputs
    rows = reduce_scatter(grad, group=node.attrs["group"])
    return (rows.reshape(x.shape),)


ALL_GATHER = _collective("all_gather", infer=_all_gather_infer, grad=_all_gather_grad, calls=lambda: _ALONE_SIZED)


def _run_all_gather(x: Array, *, out: Array, group: str, size: int) -> None:
    with exchange(x, group, "all_gather") as communicator:
        communicator.all_gather(x, out=out)


_kernel("all_gather", _run_all_gather)


@counted
def all_gather(x: Tensor, *, group: str = "world") -> Tensor:
    """Stack every rank's tensor on a new leading axis: (…) becomes (size, …), in rank order."""
    return apply(ALL_GATHER, x, group=group, size=get_communicator(group).size)


def _reduce_scatter_infer(x: TensorType, *, group: str, size: int, op: str = "sum") -> TensorType:
    if not x.shape or x.shape[0] % size:
        raise ShapeError(expected("reduce_scatter", f"a leading axis that {size} ranks divide", str(x)))
    return x.with_(shape=(x.shape[0] // size, *x.shape[1:]))


def _reduce_scatter_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    x, op, group = node.inputs[0], node.attrs.get("op", "sum"), node.attrs["group"]
    if op == "prod":
        raise NotImplementedError("reduce_scatter: expected op sum, mean, max or min to differentiate, got prod")
    if op == "mean":
        grad = grad / node.attrs["size"]
    everyone = all_gather(grad, group=group).reshape(x.shape)
    if op in ("sum", "mean"):
        return (everyone,)
    return (_where_chosen(x, all_gather(node.outputs[0], group=group).reshape(x.shape), everyone),)


REDUCE_SCATTER = _collective(
    "reduce_scatter",
    infer=_reduce_scatter_infer,
    grad=_reduce_scatter_grad,
    saves_outputs=True,
    calls=lambda: _ALONE_SIZED,
)


def _run_reduce_scatter(x: Array, *, out: Array, group: str, size: int, op: str = "sum") -> None:
    with exchange(x, group, "reduce_scatter") as communicator:
        communicator.reduce_scatter(x, op=op, out=out)


_kernel("reduce_scatter", _run_reduce_scatter)


@counted
def reduce_scatter(x: Tensor, *, op: str = "sum", group: str = "world") -> Tensor:
    """Reduce over the ranks and keep one slice each: rank r gets rows [r·k, (r+1)·k) of the result of (size·k, …)."""
    how = {} if op == "sum" else {"op": op}
    return apply(REDUCE_SCATTER, x, group=group, size=get_communicator(group).size, **how)


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
    calls=lambda: [Call(inputs=((2, 3),), attrs={"group": "world", "root": 0})],
)


def _run_broadcast(x: Array, *, out: Array, group: str, root: int) -> None:
    with exchange(x, group, "broadcast") as communicator:
        communicator.broadcast(x, root=root, out=out)


_kernel("broadcast", _run_broadcast)


@counted
def broadcast(x: Tensor, *, root: int = 0, group: str = "world") -> Tensor:
    """The root's tensor on every rank; others give one of the same type."""
    return apply(BROADCAST, x, group=group, root=root)


def _all_to_all_infer(x: TensorType, *, group: str, size: int) -> TensorType:
    if not x.shape or x.shape[0] % size:
        raise ShapeError(expected("all_to_all", f"a leading axis that {size} ranks divide", str(x)))
    return x


def _all_to_all_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (all_to_all(grad, group=node.attrs["group"]),)


ALL_TO_ALL = _collective("all_to_all", infer=_all_to_all_infer, grad=_all_to_all_grad, calls=lambda: _ALONE_SIZED)


def _run_all_to_all(x: Array, *, out: Array, group: str, size: int) -> None:
    with exchange(x, group, "all_to_all") as communicator:
        communicator.all_to_all(x, out=out)


_kernel("all_to_all", _run_all_to_all)


@counted
def all_to_all(x: Tensor, *, group: str = "world") -> Tensor:
    """Cut x into `size` equal blocks along axis 0; block s goes to rank s, and rank s's block r comes to rank r."""
    return apply(ALL_TO_ALL, x, group=group, size=get_communicator(group).size)


@counted
def weighted_mean(value: Tensor, count: float | Tensor, *, group: str = "world") -> Tensor:
    """Σᵣ countᵣ·valueᵣ / Σᵣ countᵣ over the ranks; a rank with count 0 may hold any value, also NaN.

    For losses and metrics that each rank has averaged over its own samples. `count` is a number of at least 0, or a
    tensor of one element.
    """
    expect_kind("weighted_mean", value, Tensor, "a tensor")
    if isinstance(count, Tensor):
        number = count.detach().to("f64").reshape(())
    else:
        number = as_tensor(np.array(float(count)))
    value = value.detach() if value.dtype.is_floating else value.to("f32")
    return all_reduce(value, op="mean", group=group, weight=stack([number, number]).to(value.device))


__all__ = [
    "all_gather", "all_reduce", "all_reduce_many", "all_to_all", "broadcast", "reduce_scatter", "weighted_mean",
]  # fmt: skip
