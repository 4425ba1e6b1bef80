"""PyTorch's tensors as ours and back, in every dtype that both have."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import torch

import dtrain as dt

DTYPES = {
    torch.float64: dt.float64, torch.float32: dt.float32, torch.float16: dt.float16, torch.bfloat16: dt.bfloat16,
    torch.int64: dt.int64, torch.int32: dt.int32, torch.int16: dt.int16, torch.int8: dt.int8, torch.uint8: dt.uint8,
    torch.bool: dt.bool_,
}  # fmt: skip
FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


class NotOurs(Exception):
    """A value that has no counterpart here: complex or sparse tensors, generators, layouts."""


def array_of(tensor: Any) -> np.ndarray:
    """The numbers of a tensor of PyTorch; bfloat16 bit for bit."""
    tensor = tensor.detach().resolve_conj().resolve_neg().contiguous()
    if tensor.dtype is torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16).copy()
    return np.array(tensor.numpy())


def to_ours(value: Any) -> Any:
    """The same structure with our tensors, dtypes and devices; leaves that require gradients still do."""
    if isinstance(value, torch.Tensor):
        if (
            value.layout is not torch.strided
            or value.dtype not in DTYPES
            or value.is_nested
            or value.is_meta
            or value.ndim > 64
        ):
            raise NotOurs(f"a tensor of {value.dtype}, {value.layout}")
        return dt.tensor(array_of(value), dtype=DTYPES[value.dtype], requires_grad=value.requires_grad)
    if isinstance(value, torch.dtype):
        if value not in DTYPES:
            raise NotOurs(str(value))
        return DTYPES[value]
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, torch.memory_format):
        return getattr(dt, str(value).removeprefix("torch."))
    if isinstance(value, (torch.layout, torch.Generator, complex)):
        raise NotOurs(repr(value))
    return map_structure(to_ours, value)


def map_structure(change: Callable[[Any], Any], value: Any) -> Any:
    """`change` on what lists, tuples, dicts and slices hold; other values as they are."""
    if isinstance(value, (list, tuple)):
        return (
            type(value)(change(item) for item in value) if type(value) in (list, tuple) else tuple(map(change, value))
        )
    if isinstance(value, dict):
        return {key: change(item) for key, item in value.items()}
    if isinstance(value, slice):
        return slice(change(value.start), change(value.stop), change(value.step))
    return value


def leaves_of(value: Any, kind: type = object) -> list[Any]:
    """All values of a type in a structure, in order; those that hold no others."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, slice):
        value = [value.start, value.stop, value.step]
    if isinstance(value, (list, tuple)):
        return [leaf for item in value for leaf in leaves_of(item, kind)]
    return [value] if isinstance(value, kind) else []


def quietly(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
    """Call something of PyTorch's whose warnings are not ours to mend."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **keywords)
