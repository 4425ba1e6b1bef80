"""The same elements elsewhere: cast to another dtype, copy, move to another device."""

from __future__ import annotations

from typing import Any

from dtrain.base.dtype import DTypeLike, as_dtype, promote_scalar
from dtrain.core.apply import apply
from dtrain.core.apply import cast as cast_to
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.op import gradient_of
from dtrain.opset.cast import CAST, COPY, TO_DEVICE


@gradient_of(CAST)
def _cast_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (cast_to(grad, node.inputs[0].dtype),)


@gradient_of(COPY)
def _copy_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (grad,)


@gradient_of(TO_DEVICE)
def _to_device_grad(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
    return (apply(TO_DEVICE, grad, device=node.inputs[0].device),)


def cast(x: Any, dtype: DTypeLike) -> Tensor:
    """The elements as another dtype: floats rounded to the nearest, to integers towards zero, to bool as x ≠ 0.

    >>> cast(tensor([1.7, -0.2]), "s32")
    Tensor([1, 0], s32[2]@cpu)
    """
    return cast_to(as_tensor(x), as_dtype(dtype))


def copy(x: Tensor) -> Tensor:
    """A new tensor with the same elements, in memory of its own."""
    return apply(COPY, x)


def as_floating(x: Any) -> Tensor:
    """Integers and bools as f32; floats as they are."""
    tensor = as_tensor(x)
    dtype = tensor.dtype
    return tensor if dtype.is_floating else cast_to(tensor, promote_scalar(dtype, 1.0))


install_methods({"astype": cast, "clone": copy, "copy": copy})
