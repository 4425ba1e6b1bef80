"""Type inference that many ops share, with one wording of errors."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

from dtrain.base.dtype import DType, bool_
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.tensor_type import Shape, TensorType


def broadcast_shapes(op: str, *shapes: Shape) -> Shape:
    """The common shape under NumPy's rules: sizes agree or are 1, missing leading axes count as 1."""
    ndim = max(map(len, shapes))
    sizes = []
    for axis in range(-ndim, 0):
        candidates = {shape[axis] for shape in shapes if -axis <= len(shape)} - {1}
        if len(candidates) > 1:
            raise ShapeError(
                expected(op, "shapes that broadcast", " and ".join(map(str, shapes)), "reshape one of them")
            )
        sizes.append(candidates.pop() if candidates else 1)
    return tuple(sizes)


def same(op: str) -> object:
    """Inference of an op whose output has the type of its only tensor input."""

    def infer(x: TensorType, **attrs: object) -> TensorType:
        return x

    return infer


def floating(op: str, type: TensorType) -> TensorType:
    """Raise DtypeError unless the type is floating."""
    if not type.dtype.is_floating:
        raise DtypeError(expected(op, "a floating dtype", str(type), "cast with .to('f32')"))
    return type


def same_dtype(op: str, *types: TensorType) -> DType:
    """Raise DtypeError unless all dtypes are one."""
    if any(type.dtype is not types[0].dtype for type in types):
        raise DtypeError(expected(op, "inputs of one dtype", ", ".join(map(str, types)), "cast with .to(dtype)"))
    return types[0].dtype


def as_int(op: str, name: str, value: Any, minimum: int | None = None) -> int:
    """A Python int from anything that counts as one (a NumPy integer too), at least `minimum`."""
    try:
        number = index(value)
    except TypeError:
        raise TypeError(expected(op, f"{name} as an int", f"{value!r} of type {type(value).__name__}")) from None
    if minimum is not None and number < minimum:
        raise ShapeError(expected(op, f"{name} of at least {minimum}", str(number)))
    return number


def as_axis(op: str, axis: Any) -> int:
    """An axis from anything that counts as an int, but for bools: those are flags, such as keepdim, out of place."""
    if isinstance(axis, bool):
        raise TypeError(expected(op, "an axis as an int", f"{axis} of type bool", "give flags by name"))
    return as_int(op, "an axis", axis)


def normalize_axis(op: str, axis: int, ndim: int) -> int:
    """A non-negative axis from one that may count from the end."""
    axis = as_axis(op, axis)
    if ndim == 0:
        raise ShapeError(expected(op, "a tensor with at least one axis", f"one of 0 axes, and axis {axis}"))
    if not -ndim <= axis < ndim:
        raise ShapeError(expected(op, f"an axis in [{-ndim}, {ndim})", str(axis)))
    return axis % ndim


def normalize_axes(op: str, axes: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """Sorted non-negative axes without repeats; all of them for None.

    A tensor without axes counts as one element along an axis that it does not have: 0 and -1 name it, and none is left.
    """
    if axes is None:
        return tuple(range(ndim))
    given = tuple(axes) if isinstance(axes, Sequence) else (axes,)
    if ndim == 0 and given:
        return tuple(axis for axis in normalize_axes(op, given, 1) if axis > 0)
    normal = tuple(sorted(normalize_axis(op, axis, ndim) for axis in given))
    if len(set(normal)) != len(normal):
        raise ShapeError(expected(op, "each axis once", str(given)))
    return normal


def expect_ndim(op: str, type: TensorType, *allowed: int) -> None:
    """Raise ShapeError unless the number of axes is one of `allowed`."""
    if type.ndim not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise ShapeError(expected(op, f"an input with {wanted} axes", f"{type.ndim} axes in {type}"))


def boolean(type: TensorType) -> TensorType:
    """The same shape with dtype bool."""
    return type.with_(dtype=bool_)


def reduced_shape(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    """What a reduction over normal `axes` leaves: size 1 there with keepdims, else no axis."""
    if keepdims:
        return tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)
