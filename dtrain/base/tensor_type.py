"""What is known of a tensor without its values: shape, element, layout, device, and from these the array that holds it.

The shape is logical: of an image always N, C, H, W, however it lies. `array_shape`, `array_dtype` and `nbytes` (padding
included) are what memory plans, executors and kernels see; nothing is learnt from an array. Types are interned: equal
types are one object, as long as somebody holds it, so the dispatch cache can hash and compare them by identity.

Printed `f32[8,13,56,56]{NCHW16c}@cpu` or `qs8<0.05:3>[8,64]@cpu`; the plain layout is left out.
"""

from __future__ import annotations

import re
from math import prod
from typing import NoReturn

from dtrain.base.device import CPU, Device, as_device
from dtrain.base.dtype import DType
from dtrain.base.element import Element, element, parse_element
from dtrain.base.errors import GraphError, LayoutError, expected
from dtrain.base.interned import Interned
from dtrain.base.layout import ALL as ALL_LAYOUTS
from dtrain.base.layout import PLAIN, Layout, as_layout

Shape = tuple[int, ...]


class TensorType:
    """Shape, element, layout and device of a tensor. Make one with `tensor_type()`, never directly.

    Attributes:
        shape: logical, whatever the layout.
        element: the stored dtype and a quantization; `dtype` is what users see of it.
        layout: how an image lies; `PLAIN` is the order of the axes.
        array_shape, array_dtype, nbytes: the array that holds it, padding lanes included.
        is_plain: neither laid out nor quantized, so that any op of its dtype takes it.
    """

    __slots__ = (
        "array_dtype", "array_shape", "device", "dtype", "element", "is_plain", "layout", "nbytes", "shape", "size",
    )  # fmt: skip

    def __init__(self, shape: Shape, element: Element, layout: Layout, device: Device) -> None:
        element.expect_fits(shape)
        self.shape = shape
        self.element = element
        self.dtype = element.dtype
        self.layout = layout
        self.device = device
        self.size = prod(shape)
        self.array_shape = layout.array_shape(shape)
        self.array_dtype = element.storage.numpy
        self.nbytes = prod(self.array_shape) * self.array_dtype.itemsize
        self.is_plain = layout is PLAIN and element.quantization is None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def with_(
        self,
        *,
        shape: Shape | None = None,
        dtype: Element | DType | None = None,
        layout: Layout | None = None,
        device: Device | None = None,
    ) -> TensorType:
        """The same type with some facts changed. A new shape drops the layout, unless one is given with it.

        `dtype` may be an element; a plain dtype drops the quantization.
        """
        if layout is None:
            layout = self.layout if shape is None else PLAIN
        return tensor_type(self.shape if shape is None else shape, dtype or self.element, layout, device or self.device)

    def __call__(self, *dtype: object) -> NoReturn:
        """`x.type(dtype)` is a cast elsewhere; here `x.type` is the type."""
        raise TypeError(expected("x.type", "no call", "one", "write x.to(dtype) to cast, x.dtype to ask"))

    def __str__(self) -> str:
        layout = f"{{{self.layout}}}" if self.layout is not PLAIN else ""
        return f"{self.element}[{','.join(map(str, self.shape))}]{layout}@{self.device}"

    def __repr__(self) -> str:
        return str(self)

    def __reduce__(self) -> tuple[object, tuple[Shape, Element, Layout, Device]]:
        return tensor_type, (self.shape, self.element, self.layout, self.device)


_TYPES: Interned[TensorType] = Interned(1024)
_FOUND = _TYPES.found


def tensor_type(shape: Shape, dtype: Element | DType, layout: Layout = PLAIN, device: Device = CPU) -> TensorType:
    """The one `TensorType` of these facts.

    Raises:
        LayoutError: a layout of images for another number of axes.
        ShapeError: a quantization along an axis with another number of scales.
        DtypeError: a quantized dtype without scale and zero point.
    """
    key = (shape, dtype, layout, device)
    found = _FOUND.get(key)
    if found is None:
        whole = tuple(int(size) for size in shape)
        exact = dtype if isinstance(dtype, Element) else element(dtype)
        plain = whole, exact, layout, as_device(device)
        # A dtype alone is found as quickly as its element.
        found = _TYPES.make(lambda: TensorType(*plain), plain, (whole, dtype, layout, plain[3]))
    return found


_TEXT = re.compile(r"(\w+(?:<[^<>]*>)?)\[([0-9]+(?:,[0-9]+)*)?\](?:\{(\w+)\})?@(\S+)")


def parse_tensor_type(text: str) -> TensorType:
    """Read back what `str()` of a type prints."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise GraphError(expected("tensor type", "text such as f32[8,64]@cpu", repr(text)))
    try:
        layout = as_layout(match[3] or PLAIN)
    except LayoutError:
        wanted = "a layout among " + ", ".join(map(str, ALL_LAYOUTS))
        raise GraphError(expected("tensor type", wanted, match[3])) from None
    shape = tuple(int(size) for size in match[2].split(",")) if match[2] else ()
    return tensor_type(shape, parse_element(match[1]), layout, as_device(match[4]))
