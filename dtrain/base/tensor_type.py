"""What is known of a tensor without its values: shape, dtype, layout, device.

Types are interned: equal types are one object, so the dispatch cache can hash and compare them by identity.
Printed `f32[8,64,56,56]{NCHW}@cpu`; a plain layout is left out.
"""

from __future__ import annotations

import re
from math import prod
from typing import NoReturn

from dtrain.base.device import CPU, Device, as_device
from dtrain.base.dtype import DType, as_dtype
from dtrain.base.errors import GraphError, expected
from dtrain.base.layout import Layout

Shape = tuple[int, ...]


class TensorType:
    """Shape, dtype, layout and device of a tensor. Make one with `tensor_type()`, never directly."""

    __slots__ = ("device", "dtype", "layout", "shape")

    def __init__(self, shape: Shape, dtype: DType, layout: Layout, device: Device) -> None:
        self.shape = shape
        self.dtype = dtype
        self.layout = layout
        self.device = device

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, without padding."""
        return self.size * self.dtype.itemsize

    def with_(
        self,
        *,
        shape: Shape | None = None,
        dtype: DType | None = None,
        layout: Layout | None = None,
        device: Device | None = None,
    ) -> TensorType:
        """The same type with some facts changed. A new shape of another rank drops the layout."""
        new_shape = self.shape if shape is None else shape
        if layout is None:
            layout = self.layout if len(new_shape) == len(self.shape) else Layout.PLAIN
        return tensor_type(new_shape, dtype or self.dtype, layout, device or self.device)

    def __call__(self, *dtype: object) -> NoReturn:
        """`x.type(dtype)` is a cast elsewhere; here `x.type` is the type."""
        raise TypeError(expected("x.type", "no call", "one", "write x.to(dtype) to cast, x.dtype to ask"))

    def __str__(self) -> str:
        layout = f"{{{self.layout.value}}}" if self.layout is not Layout.PLAIN else ""
        return f"{self.dtype.tag}[{','.join(map(str, self.shape))}]{layout}@{self.device}"

    def __repr__(self) -> str:
        return str(self)

    def __reduce__(self) -> tuple[object, tuple[Shape, DType, Layout, Device]]:
        return tensor_type, (self.shape, self.dtype, self.layout, self.device)


_INTERNED: dict[tuple[Shape, DType, Layout, Device], TensorType] = {}


def tensor_type(shape: Shape, dtype: DType, layout: Layout = Layout.PLAIN, device: Device = CPU) -> TensorType:
    """The one `TensorType` of these facts."""
    key = (shape, dtype, layout, device)
    found = _INTERNED.get(key)
    if found is None:
        plain = tuple(int(size) for size in shape), dtype, layout, as_device(device)
        found = _INTERNED.setdefault(plain, TensorType(*plain))
    return found


_TEXT = re.compile(r"(\w+)\[([0-9]+(?:,[0-9]+)*)?\](?:\{(\w+)\})?@(\S+)")
_LAYOUTS = [layout.value for layout in Layout]


def parse_tensor_type(text: str) -> TensorType:
    """Read back what `str()` of a type prints."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise GraphError(expected("tensor type", "text such as f32[8,64]@cpu", repr(text)))
    layout = match[3] or ""
    if layout not in _LAYOUTS:
        raise GraphError(expected("tensor type", "a layout among " + ", ".join(filter(None, _LAYOUTS)), layout))
    shape = tuple(int(size) for size in match[2].split(",")) if match[2] else ()
    return tensor_type(shape, as_dtype(match[1]), Layout(layout), as_device(match[4]))
