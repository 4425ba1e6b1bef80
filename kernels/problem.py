"""What is to be computed, as far as the choice of a kernel may depend on it: never the values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dtrain.base.device import CPU, Device
from dtrain.base.dtype import DType
from dtrain.base.tensor_type import TensorType

Attrs = Mapping[str, Any]


class Problem:
    """One op on inputs of known types, with its static attributes. Choices are kept under it, times under its text.

    `outputs` are the types that the op infers. Attributes compare as Python compares them: 0.0 equals -0.0.
    """

    __slots__ = ("attrs", "inputs", "op", "outputs")

    def __init__(
        self, op: str, inputs: Sequence[TensorType], outputs: Sequence[TensorType], attrs: Attrs | None = None
    ) -> None:
        self.op = op
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.attrs: Attrs = {} if attrs is None else attrs

    @property
    def device(self) -> Device:
        """Where it is computed: where its first input lies, or where an op without inputs is told to make its values.

        The outputs do not say: a copy to a GPU starts on the host, and so does the stream that a draw advances.
        """
        if self.inputs:
            return self.inputs[0].device
        device: Device | None = self.attrs.get("device")
        return device or CPU

    @property
    def device_kind(self) -> str:
        """`cpu` or `cuda`."""
        return "cuda" if self.device.is_cuda else "cpu"

    @property
    def nbytes(self) -> int:
        """Bytes that any kernel reads and writes at least once."""
        return sum(type.nbytes for type in (*self.inputs, *self.outputs))

    def __hash__(self) -> int:
        return hash(self._facts())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and self._facts() == other._facts()

    def _facts(self) -> tuple[Any, ...]:
        return self.op, self.inputs, self.outputs, frozenset(self.attrs.items())

    def __str__(self) -> str:
        """`conv2d f32[8,3,9,9]@cpu f32[4,3,3,3]@cpu groups=1 stride=1,1 -> f32[8,4,7,7]@cpu`."""
        attrs = [f"{name}={attribute_text(value)}" for name, value in sorted(self.attrs.items())]
        outputs = ["->", *map(str, self.outputs)] if self.outputs else []
        return " ".join([self.op, *map(str, self.inputs), *attrs, *outputs])

    __repr__ = __str__


def attribute_text(value: Any) -> str:
    """An attribute as text that tells it from all others: `1,1` for a pair, `f32` for a dtype, `sum` for a word."""
    if isinstance(value, DType):
        return value.tag
    if isinstance(value, tuple):
        text = ",".join(map(_nested_text, value)) + ("," if len(value) == 1 else "")
        return text if value and all(type(part) in (int, float) for part in value) else f"({text})"
    if isinstance(value, str) and value.isidentifier() and value not in ("None", "True", "False"):
        return value
    return _nested_text(value)


def _nested_text(value: Any) -> str:
    """A literal of Python without blanks, where it is one."""
    if isinstance(value, tuple):
        return "(" + ",".join(map(_nested_text, value)) + ("," if len(value) == 1 else "") + ")"
    return repr(value) if value is None or isinstance(value, str | bool | int | float) else str(value)
