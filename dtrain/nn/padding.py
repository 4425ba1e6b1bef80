"""Layers that pad the last axes: with a constant, or with what lies at the edge or inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import dtrain.functional as F
from dtrain.base.errors import ShapeError, expected
from dtrain.core.tensor import Tensor
from dtrain.nn.module import Module


class _Padding(Module):
    """Pad the last `num_axes` axes of x[…, C, …] or of a batch of them.

    Args:
        padding: one number for every side, or (left, right, top, bottom, …), the last axis first.
    """

    num_axes: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: int | Sequence[int]) -> None:
        sides = (padding,) * (2 * self.num_axes) if isinstance(padding, int) else tuple(padding)
        if len(sides) != 2 * self.num_axes:
            wanted = f"a number, or one for each of {2 * self.num_axes} sides"
            raise ShapeError(expected(type(self).__name__, wanted, str(padding)))
        self.padding = sides
        self.value = 0.0

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim not in (self.num_axes + 1, self.num_axes + 2):
            wanted = f"{self.num_axes + 1} or {self.num_axes + 2} axes"
            raise ShapeError(expected(type(self).__name__, wanted, str(x.type)))
        return F.pad(x, self.padding, self.mode, self.value)

    def extra_repr(self) -> str:
        return str(self.padding)


class _Constant(_Padding):
    mode = "constant"

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def extra_repr(self) -> str:
        return f"{self.padding}, value={self.value}"


class ConstantPad1d(_Constant):
    """A constant before and after the last axis of x[N, C, L]: `padding` a number or (left, right)."""

    num_axes = 1


class ConstantPad2d(_Constant):
    """A constant around images x[N, C, H, W]: `padding` a number or (left, right, top, bottom)."""

    num_axes = 2


class ConstantPad3d(_Constant):
    """A constant around x[N, C, D, H, W]: `padding` a number or six, the last axis first."""

    num_axes = 3


class ZeroPad1d(_Padding):
    """Zeros before and after the last axis of x[N, C, L]: `padding` a number or (left, right)."""

    num_axes, mode = 1, "constant"


class ZeroPad2d(_Padding):
    """Zeros around images x[N, C, H, W]: `padding` a number or (left, right, top, bottom)."""

    num_axes, mode = 2, "constant"


class ZeroPad3d(_Padding):
    """Zeros around x[N, C, D, H, W]: `padding` a number or six, the last axis first."""

    num_axes, mode = 3, "constant"


class ReflectionPad1d(_Padding):
    """What lies inside, mirrored at the edges of x[N, C, L], the edges themselves once."""

    num_axes, mode = 1, "reflect"


class ReflectionPad2d(_Padding):
    """What lies inside, mirrored at the edges of x[N, C, H, W], the edges themselves once."""

    num_axes, mode = 2, "reflect"


class ReflectionPad3d(_Padding):
    """What lies inside, mirrored at the edges of x[N, C, D, H, W], the edges themselves once."""

    num_axes, mode = 3, "reflect"


class ReplicationPad1d(_Padding):
    """The edges of x[N, C, L] again and again."""

    num_axes, mode = 1, "replicate"


class ReplicationPad2d(_Padding):
    """The edges of x[N, C, H, W] again and again."""

    num_axes, mode = 2, "replicate"


class ReplicationPad3d(_Padding):
    """The edges of x[N, C, D, H, W] again and again."""

    num_axes, mode = 3, "replicate"


class CircularPad1d(_Padding):
    """What lies at the other end of x[N, C, L]."""

    num_axes, mode = 1, "circular"


class CircularPad2d(_Padding):
    """What lies at the other end of x[N, C, H, W]."""

    num_axes, mode = 2, "circular"


class CircularPad3d(_Padding):
    """What lies at the other end of x[N, C, D, H, W]."""

    num_axes, mode = 3, "circular"
