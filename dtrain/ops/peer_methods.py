"""Tensor methods under PyTorch's names that are no functions here: other dtypes and devices, shapes as asked there.

`x.size` is a number that can be called: `x.size` elements, `x.size()` the shape, `x.size(0)` one size of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dtrain.base import names
from dtrain.base.device import DeviceLike
from dtrain.base.dtype import DTypeLike
from dtrain.base.errors import expected
from dtrain.base.layout import NHWC, PLAIN
from dtrain.base.memory_format import MemoryFormat, channels_last, contiguous_format, preserve_format
from dtrain.base.tensor_type import Shape
from dtrain.core.apply import to
from dtrain.core.context import context
from dtrain.core.relayout import relayout
from dtrain.core.strides import lies_in_order
from dtrain.core.tensor import Tensor, install_methods
from dtrain.ops.axes import numel
from dtrain.ops.cast import copy as copy_of
from dtrain.ops.repeating import tile
from dtrain.ops.shape import broadcast_to, permute, reshape
from dtrain.opset.infer import normalize_axis


class Size(int):
    """A number of elements that also answers `x.size()` and `x.size(axis)`."""

    shape: Shape

    def __new__(cls, shape: Shape, count: int) -> Size:
        size = super().__new__(cls, count)
        size.shape = shape
        return size

    def __call__(self, axis: int | None = None, **spelled: int) -> Any:
        chosen = spelled.pop("dim", axis)
        if spelled:
            raise TypeError(expected("x.size()", "an axis, or nothing", ", ".join(spelled)))
        return self.shape if chosen is None else self.shape[normalize_axis("size", chosen, len(self.shape))]

    def __reduce__(self) -> tuple[Any, ...]:
        return int, (int(self),)


def _size(x: Tensor) -> Size:
    """Number of elements; `x.size()` is the shape, `x.size(axis)` one size of it."""
    return Size(x.type.shape, x.type.size)


def _to(
    x: Tensor,
    target: Any = None,
    dtype: DTypeLike | bool | None = None,
    non_blocking: bool = False,
    copy: bool = False,
    *,
    device: DeviceLike | None = None,
    memory_format: MemoryFormat | None = None,
    other: Tensor | None = None,
) -> Tensor:
    """Cast to a dtype, or copy to a device, or both, or what another tensor has. Returns self where nothing changes.

    By position as PyTorch has them: (device, dtype, non_blocking, copy), (dtype, non_blocking, copy) or
    (tensor, non_blocking, copy). `non_blocking` and `memory_format` are taken for scripts, and have no effect.

    Args:
        copy: give a copy also where nothing changes.
    """
    if isinstance(dtype, bool):  # it stands where non_blocking does behind a dtype or a tensor, and copy comes next
        dtype, copy = None, copy or non_blocking
    if target is None and other is not None:
        target = other
    if isinstance(target, Tensor):
        target, dtype = target.device, target.dtype
    if target is None and dtype is None and device is None and memory_format is None and not copy:
        raise TypeError(expected("x.to()", "a dtype, a device or a tensor", "nothing"))
    moved = x
    wanted: tuple[Any, ...] = (target, device, dtype)
    for each in wanted:
        if each is not None:
            moved = to(moved, each)
    return copy_of(x) if copy and moved is x else moved


def _to_dtype(name: str, dtype: str) -> Callable[[Tensor], Tensor]:
    def method(x: Tensor) -> Tensor:
        return x.to(dtype)

    method.__name__ = name
    method.__doc__ = f"The elements as {dtype}."
    return method


def _cpu(x: Tensor) -> Tensor:
    """The tensor on the CPU; itself if it is there."""
    return x.to("cpu")


def _cuda(x: Tensor, device: Any = None, non_blocking: bool = False) -> Tensor:
    """The tensor on a GPU, by default the current one."""
    return x.to("cuda" if device is None else f"cuda:{device}" if isinstance(device, int) else device)


def _contiguous(x: Tensor) -> Tensor:
    """The tensor in the order of its axes in memory; itself if it lies so."""
    x = relayout(x, PLAIN)
    copy = None if lies_in_order(x) else copy_of(x)
    if context.tracer is not None:
        context.tracer.strides.note_decision(x, copy)
    return x if copy is None else copy


def _is_contiguous(x: Tensor, memory_format: MemoryFormat = contiguous_format) -> bool:
    """Whether the elements lie in the order of the axes, or of another memory format, without gaps.

    Kernels take any strides: only what shares the memory needs to ask.
    """
    if context.tracer is not None:
        context.tracer.strides.rely_on(x)
    if memory_format is contiguous_format:
        return lies_in_order(x)
    if memory_format is preserve_format:
        return True
    if x.type.layout is not PLAIN:
        return x.type.layout is NHWC
    if x.ndim != (4 if memory_format is channels_last else 5):
        return False
    return lies_in_order(permute(x, 0, *range(2, x.ndim), 1))


def _dim(x: Tensor) -> int:
    """Number of axes: `x.ndim`."""
    return x.ndim


def _element_size(x: Tensor) -> int:
    """Bytes of an element."""
    return int(x.dtype.numpy.itemsize)


def _is_floating_point(x: Tensor) -> bool:
    """Whether the dtype is floating."""
    return x.dtype.is_floating


def _type_as(x: Tensor, other: Tensor) -> Tensor:
    """The elements in the dtype of `other`."""
    return x.to(other.dtype)


def _view_as(x: Tensor, other: Tensor) -> Tensor:
    """`view` with the shape of `other`."""
    return x.view(other.shape)


def _reshape_as(x: Tensor, other: Tensor) -> Tensor:
    """`reshape` to the shape of `other`."""
    return reshape(x, other.shape)


def _expand_as(x: Tensor, other: Tensor) -> Tensor:
    """`broadcast_to` the shape of `other`."""
    return broadcast_to(x, other.shape)


def _repeat(x: Tensor, *repeats: Any) -> Tensor:
    """The whole tensor repeated along each axis, as `tile`; each element repeated is `F.repeat`."""
    counts = repeats[0] if len(repeats) == 1 and isinstance(repeats[0], list | tuple) else repeats
    if len(counts) < x.ndim:
        raise ValueError(expected("x.repeat()", f"a count for each of {x.ndim} axes", str(tuple(counts))))
    return tile(x, tuple(counts))


def _get_device(x: Tensor) -> int:
    """The number of the GPU, −1 on the CPU."""
    return x.device.index if x.device.is_cuda else -1


def _missing(x: Tensor, name: str) -> Any:
    """Called for attributes that a tensor does not have: say what to write."""
    if name.startswith("__"):  # NumPy and copy ask for many
        raise AttributeError(name)
    raise AttributeError(names.hint("Tensor", name, dir(Tensor)))


def _install() -> None:
    methods: dict[str, Any] = {
        function.__name__.removeprefix("_"): function
        for function in (
            _cpu, _cuda, _contiguous, _is_contiguous, _dim, _element_size, _is_floating_point, _type_as, _view_as,
            _reshape_as, _expand_as, _repeat, _get_device,
        )
    }  # fmt: skip
    methods |= {"ndimension": _dim, "nelement": numel}
    for name, dtype in (
        ("float", "f32"), ("double", "f64"), ("half", "f16"), ("bfloat16", "bf16"), ("int", "s32"), ("long", "s64"),
        ("short", "s16"), ("bool", "bool"), ("byte", "u8"),
    ):  # fmt: skip
        methods[name] = _to_dtype(name, dtype)
    methods["to"] = _to
    methods["register_hook"] = Tensor.register_grad_hook
    methods["size"] = property(_size)
    methods["is_cuda"] = property(lambda x: x.device.is_cuda)
    methods["is_cpu"] = property(lambda x: x.device.is_cpu)
    methods["mT"] = property(lambda x: x.transpose(-1, -2))
    methods["nbytes"] = property(lambda x: x.type.nbytes)
    methods["itemsize"] = property(_element_size)
    methods["__getattr__"] = _missing
    install_methods(methods)


_install()
