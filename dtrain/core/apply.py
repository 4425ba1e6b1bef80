"""The one door: every op on tensors passes through `apply`, which computes, records for autograd, or traces.

What follows from the input types alone (output types, promotion, the kernel) is worked out once per op and type
combination and kept in the op's dispatch cache, so that an eager call costs one look-up and the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from dtrain.base.cuda import placement
from dtrain.base.device import CPU, Device, DeviceLike
from dtrain.base.dtype import DType, DTypeLike, as_dtype, promote_scalar
from dtrain.base.errors import TraceError, expected
from dtrain.base.promotion import common_dtype
from dtrain.base.user_source import user_source
from dtrain.core.context import context
from dtrain.core.strides import shares_memory
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods, wrap
from dtrain.core.tensor_numbers import RETURN_IT, named
from dtrain.graph.op import Op, get_op
from dtrain.kernels.device_arrays import owner_of
from dtrain.kernels.quiet import quiet
from dtrain.kernels.views import View
from dtrain.runtime.dispatch import Dispatch, decide, dispatch


def apply_all(op: Op, inputs: Sequence[Any], attrs: dict[str, Any]) -> list[Tensor]:
    """Apply `op` and return all its outputs. Numbers and arrays among the inputs become tensors."""
    # One loop, since this is the cost of every small op.
    types: Any = []
    arrays = []
    needs_grad = is_symbolic = is_view = False
    try:
        for tensor in inputs:
            types.append(tensor.type)
            array = tensor.array
            arrays.append(array)
            if array is None:
                is_symbolic = True
            if tensor.requires_grad:
                needs_grad = True
            if tensor.base is not None:
                is_view = True
    except AttributeError:
        return apply_all(op, as_tensors(inputs), attrs)
    types = tuple(types)
    # The look-up of `dispatch`, in place.
    decided = op.dispatch_cache.get((types, tuple(attrs.items())) if attrs else types)
    if decided is None:
        decided = decide(op, types, attrs)
    if decided.cast_to is not None:
        return apply_all(op, [tensor.to(decided.cast_to) for tensor in inputs], attrs)
    tracer = context.tracer
    if tracer is not None:
        outputs = tracer.record(op, inputs, decided.types, attrs)
    elif is_symbolic:
        raise _stale(op, inputs)
    elif decided.one is not None:
        outputs = [Tensor(decided.one(arrays, attrs), decided.types[0])]
    elif op.is_dynamic:
        outputs = [wrap(array) for array in decided.run(arrays, attrs)]
    else:
        outputs = [Tensor(array, type) for array, type in zip(decided.run(arrays, attrs), decided.types)]
    if op.view is not None:
        _note_view(op, op.view, inputs[0], outputs[0], attrs)
    if is_view and tracer is None and context.grad_enabled:
        needs_grad = refresh_views(inputs) or needs_grad
    if needs_grad and context.grad_enabled:
        _record_on_tape(op, inputs, outputs, attrs, decided)
    return outputs


def _note_view(op: Op, row: View, base: Tensor, view: Tensor, attrs: dict[str, Any]) -> None:
    """What a later write into the view must know. One that had to copy shows nothing."""
    view.base, view.shown = base, (op, attrs, base.version)
    tracer = context.tracer
    if tracer is None:
        view.share_writes(base)
        return
    if row.may_copy is not None and row.may_copy(attrs, base.shape):
        is_copy = not shares_memory(view, base)
        tracer.strides.note_decision(base, view if is_copy else None)
        if is_copy:
            view.base = view.shown = None
            tracer.note_own(view)
            return
    tracer.note_view(view, base)


def refresh_views(tensors: Sequence[Tensor]) -> bool:
    """Give views of what was written into since the history that their elements have now. Whether any has one."""
    for tensor in tensors:
        if tensor.base is not None:
            _refresh_view(tensor, tensor.base)
    return any(tensor.requires_grad for tensor in tensors)


def _refresh_view(view: Tensor, base: Tensor) -> None:
    assert view.shown is not None
    if base.base is not None:
        _refresh_view(base, base.base)
    op, attrs, version = view.shown
    if base.version == version or base.array is None or owner_of(view.array) is not owner_of(base.array):
        return
    view.shown = (op, attrs, base.version)
    if base.requires_grad:
        fresh = apply(op, base, **attrs)
        view.requires_grad, view.node, view.index = True, fresh.node, fresh.index
    else:
        view.requires_grad, view.node, view.index = False, None, 0


def apply(op: Op, /, *inputs: Any, **attrs: Any) -> Tensor:
    """Apply an op of one output. Values are positional, static attributes keyword-only and hashable."""
    return apply_all(op, inputs, attrs)[0]


def apply_tuple(op: Op, /, *inputs: Any, **attrs: Any) -> tuple[Tensor, ...]:
    """Apply an op of several outputs."""
    return tuple(apply_all(op, inputs, attrs))


def update(op: Op, /, *inputs: Tensor, **attrs: Any) -> list[Tensor]:
    """Apply an op and overwrite its aliased inputs with the outputs that `op.aliases` pairs them with.

    Eagerly the kernel writes into the memory of those inputs; while tracing they become state updates. Nothing is
    recorded on the tape. Returns all outputs (for an alias: the overwritten tensor itself).
    """
    decided = dispatch(op, tuple([tensor.type for tensor in inputs]), attrs)
    targets = {output: inputs[source] for output, source in op.aliases_of(attrs).items()}
    if context.tracer is not None:
        outputs = context.tracer.record(op, inputs, decided.types, attrs)
        for output, target in targets.items():
            target.version += 1
            context.tracer.write(target, outputs[output])
    else:
        into = [
            targets[i].array if i in targets else decided.empty(shape, dtype)
            for i, (shape, dtype) in enumerate(decided.outputs)
        ]
        decided.run_into([tensor.concrete(op.name) for tensor in inputs], attrs, into)
        outputs = [Tensor(array, type) for array, type in zip(into, decided.types)]
        for target in targets.values():
            target.version += 1
    return [targets.get(i, output) for i, output in enumerate(outputs)]


def _stale(op: Op, inputs: Sequence[Tensor]) -> TraceError:
    given = ", ".join(str(tensor.type) for tensor in inputs if tensor.array is None)
    return TraceError(
        expected(
            f"{op.name} at {user_source()}",
            "tensors that hold numbers",
            f"{given} left over from a traced function{named(next(t for t in inputs if t.array is None))}",
            RETURN_IT,
        )
    )


def _record_on_tape(
    op: Op, inputs: Sequence[Tensor], outputs: list[Tensor], attrs: dict[str, Any], decided: Dispatch
) -> None:
    if context.stand_ins:
        inputs = [context.stand_ins.get(tensor, tensor) for tensor in inputs]
    # An op of a dynamic shape knows its types only now.
    types = tuple([tensor.type for tensor in outputs]) if op.is_dynamic else decided.types
    saved: Sequence[Tensor | None] | None = outputs if op.saves_outputs else None
    if isinstance(op.saves_outputs, tuple):
        saved = [tensor if index in op.saves_outputs else None for index, tensor in enumerate(outputs)]
    reads = "none" if op.view is not None else op.grad_reads
    node = TapeNode(op.name, op.grad or _no_gradient, inputs, types, attrs, saved, op.partial_grads, reads)
    for index, tensor in enumerate(outputs):
        if types[index].dtype.is_floating:
            tensor.requires_grad = True
            tensor.node = node
            if index:
                tensor.index = index


def _no_gradient(node: TapeNode, *grads: Tensor) -> tuple[None, ...]:
    """The rule of an op without one: a wrong gradient of 0 would pass unseen."""
    advice = "detach() its inputs, or compute it under no_grad, if no gradient is meant to flow"
    raise RuntimeError(expected(f"backward through {node.name}", "an op with a gradient rule", "one without", advice))


def as_tensors(inputs: Sequence[Any]) -> list[Tensor]:
    """Numbers take the dtype of the tensors beside them: a Python number changes the kind, never the width."""
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    if not tensors:
        return [as_tensor(value) for value in inputs]
    common = common_dtype([tensor.type for tensor in tensors])
    device = tensors[0].type.device
    return [value if isinstance(value, Tensor) else _beside(value, common, device) for value in inputs]


def _beside(value: Any, common: DType, device: Device) -> Tensor:
    if isinstance(value, bool | int | float):
        dtype = promote_scalar(common, value)
        # 0.0 and −0.0 would be one key.
        if value and device is CPU and context.tracer is None:
            return _number(value, dtype)
        return as_tensor(_number_array(value, dtype), device=device)
    return as_tensor(value, device=device)


@quiet
def _number_array(value: float, dtype: DType) -> np.ndarray:
    """A float beyond the range of a short dtype is ∞ there; an int beyond that of an integer has no meaning."""
    try:
        return np.asarray(value, dtype.numpy)
    except OverflowError:
        info = np.iinfo(dtype.numpy) if dtype.is_integer else np.finfo(np.float64)
        wanted = f"a number in [{info.min}, {info.max}] beside a tensor of dtype {dtype.tag}"
        raise OverflowError(expected("a Python number", wanted, str(value), "cast the tensor first")) from None


@lru_cache(maxsize=1024, typed=True)
def _number(value: float, dtype: DType) -> Tensor:
    """A 0-d tensor that nobody writes to: code meets the same few numbers again and again."""
    array = _number_array(value, dtype)
    array.flags.writeable = False
    return wrap(array)


def cast(tensor: Tensor, dtype: DType) -> Tensor:
    """Cast through the `cast` op; the same tensor where nothing changes."""
    return tensor if tensor.type.dtype is dtype else apply(get_op("cast"), tensor, dtype=dtype)


def to(tensor: Tensor, target: DeviceLike | DTypeLike) -> Tensor:
    """Cast to a dtype, or copy to a device. Returns the tensor itself where nothing changes."""
    if isinstance(target, Device) or (isinstance(target, str) and _is_device_text(target)):
        device = placement(target)
        return tensor if device is tensor.type.device else apply(get_op("to_device"), tensor, device=device)
    return cast(tensor, as_dtype(target))


def _is_device_text(text: str) -> bool:
    return text.startswith(("cpu", "cuda", "gpu", "xpu", "multithread"))


install_methods({"to": to})
