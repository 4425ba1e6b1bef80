"""Writing into a tensor: its elements change where they lie, and from then on it has the history of what was written.

What ops recorded before the write is guarded by version counts: backward through a tensor whose elements are gone
raises. What a write itself reads of the old elements is kept in a copy (`frozen`). A write into a view is a write into
what it shows: the whole gets the history too, while tracing also the value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.user_source import user_source
from dtrain.core.apply import apply, cast, refresh_views
from dtrain.core.context import context
from dtrain.core.relayout import relayout
from dtrain.core.strides import shares_memory
from dtrain.core.tensor import Tensor, install_methods
from dtrain.graph.op import Op, get_op
from dtrain.kernels.device_arrays import copy_of, is_writable
from dtrain.kernels.device_arrays import overwrite as write_elements

_BREADTH = {"bool": 0, "unsigned": 1, "signed": 1, "float": 2}  # a kind holds those of no greater breadth


def update_in_place(name: str, target: Tensor, function: Callable[..., Tensor], *args: Any, **kwargs: Any) -> Tensor:
    """Overwrite `target` with `function(target, *args, **kwargs)`, cast to its dtype. Returns target.

    Raises:
        RuntimeError: target is a leaf that requires gradients (or a view of one), and gradients are recorded.
        ShapeError, DtypeError: the result has another shape, or its kind of number does not fit.
    """
    expect_writable(name, target)
    _refresh(target)
    source = target
    if context.grad_enabled and _any_requires_grad((target, *args, *kwargs.values())):
        source = frozen(target)
        args = tuple(source if value is target else value for value in args)
    overwrite(target, _fitted(name, target, function(source, *args, **kwargs)), name)
    return target


def assign_(target: Tensor, new: Tensor) -> Tensor:
    """Overwrite the elements with those of `new`, which must have the same type. Returns target.

    Where gradients are recorded, target takes over the history of `new`. While tracing this becomes a state update of
    the graph. The tape refuses to run backward through a tensor that was overwritten after an op had read it.
    """
    if new.type is not target.type:
        raise ShapeError(expected("assign_", f"a tensor of type {target.type}", str(new.type)))
    # New numbers for a leaf (a first value, a loaded one) are no part of any history.
    if new.requires_grad or target.base is not None:
        expect_writable("assign_()", target)
    overwrite(target, new, "assign_()")
    return target


def expect_writable(name: str, target: Tensor) -> None:
    """Raise RuntimeError where a write would change a leaf between its use and its gradient."""
    if not context.grad_enabled:
        return
    root = _root(target)
    if root.requires_grad and (root.node is None or root.node.is_leaf(root.index)):
        what = "a leaf that requires gradients" if root is target else "a view of a leaf that requires gradients"
        raise RuntimeError(
            expected(
                f"{name} at {user_source()}",
                "a tensor that may be overwritten while gradients are recorded",
                f"{target.type}, {what}",
                "write inside `with dt.no_grad():` if no gradient is meant to flow; "
                "else make a new tensor, such as y = x * 2 or y = dtrain.functional.set_item(x, index, values)",
            )
        )


def frozen(target: Tensor) -> Tensor:
    """A handle with the present elements and history of `target`, which later writes into it leave alone."""
    base = target.base
    if base is not None and target.shown is not None and _is_present_view(target, base):
        op, attrs, _ = target.shown
        return apply(op, frozen(base), **attrs)
    if context.tracer is not None:
        handle = context.tracer.frozen(target)
    else:
        handle = Tensor(copy_of(target.concrete("an in-place update")), target.type)
    handle.requires_grad, handle.node, handle.index = target.requires_grad, target.node, target.index
    if target.node is not None:
        target.node.keep_output(target.index, handle)
    return handle


def _refresh(target: Tensor) -> None:
    if target.base is not None and context.tracer is None and context.grad_enabled:
        refresh_views([target])


def _is_present_view(target: Tensor, base: Tensor) -> bool:
    """Whether the history of a view is its base's, and that of now: nobody wrote into the base since."""
    node = target.node
    return node is not None and bool(node.inputs) and node.inputs[0] is base and node.versions[0] == base.version


def overwrite(target: Tensor, new: Tensor, name: str) -> None:
    """Give `target` the elements of `new`, which has its type, and, where gradients are recorded, its history."""
    _refresh(target)
    takes_history = context.grad_enabled and (
        new.requires_grad or target.node is not None or _root(target).node is not None
    )
    base = _shown_tensor(target) if takes_history or context.tracer is not None else None
    if base is not None:
        _write_through_view(target, base, new, name)
        return
    if context.tracer is not None:
        target.version += 1
        if takes_history:
            context.tracer.keep_history(target)
        context.tracer.write(target, new)
    else:
        _write_elements(target, new, name)
    if takes_history:
        _take_history(target, new)


def _write_elements(target: Tensor, new: Tensor, name: str) -> None:
    array, source = target.concrete(name), new.concrete(name)
    if not is_writable(array):
        raise RuntimeError(
            expected(
                f"{name} at {user_source()}",
                "a tensor in writable memory",
                f"{target.type}, whose elements are repeated or belong to a read-only array",
                "copy() it first",
            )
        )
    target.version += 1
    write_elements(array, source)


def _take_history(target: Tensor, new: Tensor) -> None:
    if new.requires_grad and new.node is None:
        new = apply(get_op("copy"), new)  # a leaf: the target hangs on it, and is none itself
    target.requires_grad, target.node, target.index = new.requires_grad, new.node, new.index


def _write_through_view(target: Tensor, base: Tensor, new: Tensor, name: str) -> None:
    """Write the whole that `target` shows a part of, then show that part of it."""
    assert target.shown is not None
    op, attrs, _ = target.shown
    overwrite(base, _put_back(op, attrs, frozen(base), new), name)
    fresh = apply(op, base, **attrs)
    target.value = fresh.value
    if context.grad_enabled:
        target.requires_grad, target.node, target.index = fresh.requires_grad, fresh.node, fresh.index
    target.shown = fresh.shown
    if context.tracer is not None:
        context.tracer.note_view(target, base)


def _put_back(op: Op, attrs: dict[str, Any], whole: Tensor, part: Tensor) -> Tensor:
    """`whole` with `part` in the place of what the view op `op` shows of it."""
    assert op.view is not None, op
    if op.view.put_back is None:
        raise RuntimeError(
            expected(
                f"in-place update at {user_source()}",
                "a tensor whose elements each have a place of their own",
                f"{part.type} made by {op.name}, which repeats elements",
                "copy() it first",
            )
        )
    call = op.view.put_back(attrs, whole.shape)
    return apply(get_op(call.op), *((whole, part) if call.takes_whole else (part,)), **call.attrs)


def _shown_tensor(target: Tensor) -> Tensor | None:
    """What `target` is a view of, if writing into it changes that."""
    base = target.base
    return base if base is not None and shares_memory(target, base) else None


def _root(target: Tensor) -> Tensor:
    """The tensor at the bottom of a chain of views."""
    while target.base is not None and shares_memory(target, target.base):
        target = target.base
    return target


def _any_requires_grad(values: Sequence[Any]) -> bool:
    return any(isinstance(value, Tensor) and value.requires_grad for value in values)


def _fitted(name: str, target: Tensor, new: Tensor) -> Tensor:
    if new.shape != target.shape:
        raise ShapeError(expected(name, f"a result of shape {target.shape}, as what it is written into", str(new.type)))
    if new.type.element is target.type.element:
        return relayout(new, target.type.layout)
    if "quantized" in (new.dtype.kind, target.dtype.kind):
        given = f"{new.type} for {target.type}"
        raise DtypeError(expected(name, "elements that stand for the same numbers where one is quantized", given))
    if _BREADTH[new.dtype.kind] > _BREADTH[target.dtype.kind]:
        raise DtypeError(
            expected(name, f"a result that {target.dtype.tag} can hold", str(new.type), "cast one of the two first")
        )
    return relayout(cast(new, target.dtype), target.type.layout)


install_methods({"assign_": assign_})
