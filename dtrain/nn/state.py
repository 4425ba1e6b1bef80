"""Loading and moving the tensors behind a module: everything is checked before anything changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dtrain.base.device import Device, DeviceLike
from dtrain.base.dtype import DTypeLike, as_dtype
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.core.context import context, no_grad
from dtrain.core.relayout import relayout
from dtrain.core.tensor import Tensor, as_tensor

_MAX_LISTED = 8


def check_state(
    where: str, own: Mapping[str, Tensor], given: Mapping[str, Any], *, strict: bool
) -> tuple[list[str], list[str]]:
    """Missing and unexpected names; raises for them if `strict`, and for shapes and dtypes that differ.

    Counts of batches may be floats, as in averages of several states; the part behind the point is cut off.
    """
    missing = [name for name in own if name not in given and not _is_batch_count(name, own)]
    unexpected = [name for name in given if name not in own and not _is_batch_count(name, own)]
    if strict and (missing or unexpected):
        parts = [
            f"{len(names)} {what} ({_listed(names)})"
            for names, what in ((missing, "missing"), (unexpected, "unexpected"))
            if names
        ]
        advice = "build the same model, or pass strict=False to load what fits"
        # str(KeyError) shows quotes around the text; the text itself is args[0].
        raise KeyError(expected(f"{where}.load_state_dict", "exactly the model's names", ", ".join(parts), advice))
    for name, tensor in own.items():
        if name in given:
            is_count = _is_batch_count(name, own)
            _check_tensor(f"{where}.load_state_dict", name, tensor, as_tensor(given[name]), any_dtype=is_count)
    return missing, unexpected


def _is_batch_count(name: str, own: Mapping[str, Tensor]) -> bool:
    """Whether it is the count of batches beside running statistics, which files may lack or have too much."""
    prefix, _, last = name.rpartition("num_batches_tracked")
    return not last and name.endswith("num_batches_tracked") and f"{prefix}running_mean" in own


def load_state(own: Mapping[str, Tensor], given: Mapping[str, Any]) -> None:
    """Overwrite the elements of `own` with those of the same names, wherever they live and however they lie."""
    with no_grad():
        for name, tensor in own.items():
            if name in given:
                elements = as_tensor(given[name]).detach().to(tensor.device)
                if elements.dtype is not tensor.dtype:  # of counts alone: see check_state
                    elements = elements.to(tensor.dtype)
                tensor.assign_(relayout(elements, tensor.type.layout))


def _check_tensor(where: str, name: str, own: Tensor, given: Tensor, *, any_dtype: bool) -> None:
    if given.shape != own.shape:
        raise ShapeError(
            expected(where, f"{name} of shape {own.shape}", str(given.shape), "was the model built with other sizes?")
        )
    if given.type.element is not own.type.element and not any_dtype:
        wanted, found = f"{name} of dtype {own.type.element}", str(given.type.element)
        raise DtypeError(expected(where, wanted, found, "convert the model with .to(dtype)"))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def move_tensors(owner: str, tensors: Sequence[Tensor], target: DeviceLike | DTypeLike | None) -> None:
    """`move_tensor` of all that a module holds; `owner` names it in errors."""
    if target is None:
        raise TypeError(expected(f"{owner}.to()", "a dtype or a device", "nothing"))
    if context.tracer is not None:
        raise RuntimeError(f"{owner}.to: expected to be called outside of a traced function")
    for tensor in tensors:
        move_tensor(tensor, target)


def move_tensor(tensor: Tensor, target: DeviceLike | DTypeLike) -> None:
    """Give the tensor, and its gradient, elements on another device or, if floating, of another dtype.

    The object stays the same, so that whoever holds it sees the change.
    """
    if not tensor.dtype.is_floating and not _is_device(target):
        return
    with no_grad():
        moved = tensor.detach().to(target)
        gradient = None if tensor.grad is None else tensor.grad.to(target)
    tensor.array, tensor.type = moved.array, moved.type
    tensor.version += 1
    tensor.grad = gradient


def _is_device(target: DeviceLike | DTypeLike) -> bool:
    if isinstance(target, Device):
        return True
    if not isinstance(target, str):
        return False
    try:
        as_dtype(target)
    except DtypeError:
        return True
    return False
