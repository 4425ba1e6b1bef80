"""How a tensor gives out its numbers: as arrays, as Python numbers, as text.

Every way asks `concrete` first, which says why there are none while a function is traced.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dtrain.base.errors import DtypeError, ShapeError, TraceError, expected
from dtrain.base.layout import PLAIN
from dtrain.base.user_source import user_source
from dtrain.core.context import context
from dtrain.kernels.device_arrays import to_host
from dtrain.kernels.in_order import in_order

if TYPE_CHECKING:
    from dtrain.base.tensor_type import TensorType
    from dtrain.graph.graph import Value

Array = Any


RETURN_IT = (
    "it stands for a value of that function's graph and never has numbers: return it from the function, or keep it in "
    "a tensor made outside, such as total.add_(loss.detach())"
)


def named(tensor: TensorNumbers) -> str:
    """Which traced function a tensor without numbers comes from, and which line made it."""
    value = tensor.value
    if value is None or not value.function:
        return ""
    source = value.node.source if value.node is not None else ""
    return f" ({value.function}, at {source})" if source else f" ({value.function})"


class TensorNumbers:
    """The part of `Tensor` that reads `array`."""

    __slots__ = ()

    if TYPE_CHECKING:
        array: Array
        type: TensorType
        requires_grad: bool
        value: Value | None

    def concrete(self, wanted: str) -> Array:
        """The array itself. Raises TraceError, naming the user's line, where there are no numbers yet."""
        if self.array is None:
            if context.tracer is not None and context.tracer.knows(self):  # type: ignore[arg-type]
                given = f"{self.type} inside a traced function, where only shapes are known"
                advice = "use dtrain.functional.where, or move this line out of the traced function"
            else:
                given, advice = f"{self.type} left over from a traced function{named(self)}", RETURN_IT
            raise TraceError(expected(f"{wanted} at {user_source()}", "a tensor that holds numbers", given, advice))
        return self.array

    def rely_on_numbers(self, wanted: str) -> Array:
        """`concrete` for who takes all of it along: a function that is traced relies on the numbers from then on."""
        array = self.concrete(wanted)
        if context.tracer is not None:
            context.tracer.read_numbers(self, wanted)  # type: ignore[arg-type]
        return array

    def numbers(self, wanted: str) -> Array:
        """The elements in the order of the axes, for who takes numbers out. Raises DtypeError for quantized ones."""
        array = self.rely_on_numbers(wanted)
        return array if self.type.is_plain else self._plain_numbers(wanted)

    def _plain_numbers(self, wanted: str) -> Array:
        if self.type.element.quantization is not None:
            advice = "x.array holds the stored integers, x.type.element their scale and zero point"
            raise DtypeError(expected(wanted, "plain numbers", str(self.type), advice))
        return self._stored()

    def stored(self, wanted: str) -> Array:
        """The elements as they are stored, quantized ones as integers, in the order of the axes, without padding."""
        self.rely_on_numbers(wanted)
        return self._stored()

    def _stored(self) -> Array:
        type = self.type
        return self.array if type.layout is PLAIN else in_order(self.array, type.layout, type.shape[1])

    def numpy(self) -> np.ndarray:
        """The elements as a NumPy array in the order of the axes.

        It shares the memory of a plain tensor on the CPU, and is a copy of one on a GPU or in blocks of channels.
        """
        return to_host(self.numbers("numpy()"))

    def item(self) -> Any:
        """The only element as a Python number."""
        return self._number("item()")

    def _number(self, wanted: str) -> Any:
        self.numbers(wanted)
        return self._item(wanted)

    def _item(self, wanted: str) -> Any:
        if self.type.size != 1:
            raise ShapeError(expected(wanted, "a tensor of one element", str(self.type)))
        array = to_host(self._stored()).reshape(())
        return array.item() if self.type.dtype.tag != "bf16" else float(array)

    def tolist(self) -> Any:
        """The elements as nested Python lists."""
        return to_host(self.numbers("tolist()")).tolist()

    def __bool__(self) -> bool:
        self.numbers("a Python branch on a tensor's value")
        if self.type.size != 1:
            raise ShapeError(expected("a branch", "a tensor of one element", str(self.type), "reduce it with .any()"))
        return bool(self._item("a branch"))

    def __int__(self) -> int:
        return int(self._number("int()"))

    def __float__(self) -> float:
        return float(self._number("float()"))

    def __complex__(self) -> complex:
        return complex(self._number("complex()"))

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        # A text is for people: a function that prints relies on nothing.
        self.concrete(f"a tensor formatted with {spec!r}")
        self._plain_numbers(f"a tensor formatted with {spec!r}")
        return format(self._item(f"a tensor formatted with {spec!r}"), spec)

    def __round__(self, digits: int | None = None) -> Any:
        if digits is not None and not hasattr(digits, "__index__"):
            raise TypeError(expected("round()", "digits as an int", f"{digits!r} of type {type(digits).__name__}"))
        return round(self._number("round()"), digits)

    # Without these Python would go through a float, which holds no long integer.
    def __trunc__(self) -> int:
        whole: int = math.trunc(self._number("math.trunc()"))
        return whole

    def __floor__(self) -> int:
        whole: int = math.floor(self._number("math.floor()"))
        return whole

    def __ceil__(self) -> int:
        whole: int = math.ceil(self._number("math.ceil()"))
        return whole

    def __index__(self) -> int:
        self.numbers("an index")
        if not (self.type.dtype.is_integer and self.type.size == 1):
            raise TypeError(expected("index", "an integer tensor of one element", str(self.type)))
        return int(self._item("index"))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and dtype != array.dtype:
            if copy is False:
                raise ValueError(expected("__array__", f"dtype {array.dtype} where copy=False", str(dtype)))
            return array.astype(dtype)
        return array.copy() if copy else array

    def __dlpack__(self, **options: Any) -> Any:
        array = self.numbers("__dlpack__()")
        if self.type.dtype.tag == "bf16" and isinstance(array, np.ndarray):
            from dtrain.core.dlpack import export_bf16

            return export_bf16(array, options)
        return array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        device: tuple[int, int] = self.concrete("__dlpack_device__()").__dlpack_device__()
        return device

    def __repr__(self) -> str:
        grad = ", requires_grad=True" if self.requires_grad else ""
        if self.array is None:
            return f"Tensor({self.type}, symbolic{named(self)}{grad})"
        text = np.array2string(to_host(self._stored()), separator=", ", prefix="Tensor(", threshold=200)
        return f"Tensor({text}, {self.type}{grad})"
