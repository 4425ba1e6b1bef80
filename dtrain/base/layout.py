"""How the elements of an image tensor [N, C, H, W] lie in memory. The shape that users see stays N, C, H, W.

    NCHW       array [N, C, H, W]          plain: the order of the axes, and the layout of every other tensor
    NHWC       array [N, H, W, C]
    NCHW16c    array [N, ⌈C/16⌉, H, W, 16] channels in blocks; the last block has padding lanes where 16 ∤ C

Padding lanes hold anything: whoever computes lane by lane may compute on them, and nobody may read them as numbers or
let them raise. `relayout` fills them with zeros and leaves them behind. docs/design/0016-layouts.md says why.

A `Layout` is interned: compare with `is`.
"""

from __future__ import annotations

from typing import Literal

from dtrain.base.errors import LayoutError, expected

Shape = tuple[int, ...]
Kind = Literal["NCHW", "NHWC", "NCHWc"]


class Layout:
    """Memory order of the axes: its `kind`, and the channels of a `block` (1 where channels are not blocked)."""

    __slots__ = ("block", "kind", "name")

    def __init__(self, kind: Kind, block: int = 1) -> None:
        self.kind = kind
        self.block = block
        self.name = f"NCHW{block}c" if kind == "NCHWc" else kind

    @property
    def is_blocked(self) -> bool:
        return self.kind == "NCHWc"

    def array_shape(self, shape: Shape) -> Shape:
        """The shape of the array that holds a tensor of this logical shape, padding lanes included."""
        if self.kind == "NCHW":
            return shape
        if len(shape) != 4:
            raise LayoutError(expected(f"layout {self}", "a tensor [N, C, H, W]", f"one of shape {shape}"))
        n, c, h, w = shape
        return (n, h, w, c) if self.kind == "NHWC" else (n, -(-c // self.block), h, w, self.block)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Layout({self.name!r})"

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return as_layout, (self.name,)


PLAIN = Layout("NCHW")
NHWC = Layout("NHWC")
NCHW4C, NCHW8C, NCHW16C, NCHW32C = (Layout("NCHWc", block) for block in (4, 8, 16, 32))

ALL = (PLAIN, NHWC, NCHW4C, NCHW8C, NCHW16C, NCHW32C)
LAID_OUT = ALL[1:]  # those that only kernels which name them get

_BY_NAME = {layout.name: layout for layout in ALL}

LayoutLike = Layout | str


def as_layout(value: LayoutLike) -> Layout:
    """A layout, or the one of this name."""
    if isinstance(value, Layout):
        return value
    if not isinstance(value, str) or value not in _BY_NAME:
        raise LayoutError(expected("layout", "one of " + ", ".join(_BY_NAME), repr(value)))
    return _BY_NAME[value]
