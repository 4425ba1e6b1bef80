"""One way to call an op: what tests and benchmarks of ops and kernels enumerate.

An op lists its calls itself (`Op.calls`), for every family of tests and for the benchmark; `graph/calls.py` picks among
them. Kernels that are no op, and values that only a kernel can get wrong, have lists beside their tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from dtrain.base.device import CPU, Device
from dtrain.base.dtype import DType, as_dtype, from_numpy
from dtrain.base.tensor_type import TensorType, tensor_type
from dtrain.kernels.array_module import Array
from dtrain.kernels.problem import Problem

Shape = tuple[int, ...]
# What a call without tags is for, all tests and no benchmark, and what each tag changes of it:
#     no gradient   a numeric gradient says nothing here: where the function jumps, or where only some outputs have one
#     large         sizes as they occur in training: a benchmark times it, tests do not compare it
Tag = Literal["no gradient", "large"]


class Typed(NamedTuple):
    """An array with a dtype of its own: lr, step, class numbers, places. Integers are drawn from [0, below)."""

    shape: Shape
    dtype: str | np.dtype
    below: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call, whose floating inputs have the dtype under test.

    op: the name of the op, where the call does not stand under it in a table.
    inputs: shapes, filled with numbers drawn uniformly from [low, high); `Typed` ones; or arrays, of which those in f64
        are cast to the dtype under test, but for the positions in `keep`.
    outputs: shapes, of the dtype under test, and `Typed` ones; None where the inference of an op says them.
    aliases: output -> the input that it may be written over.
    length, magnitude: what the tolerance of a comparison grows with; a magnitude of 0 is that of the result.
    flops: its arithmetic, 0 where bytes decide how long it takes.
    tags: who it is for, where not for all.
    """

    op: str = ""
    label: str = ""
    inputs: tuple[Any, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[Any, ...] | None = None
    aliases: Mapping[int, int] = field(default_factory=dict)
    keep: tuple[int, ...] = ()
    low: float = -2.0
    high: float = 2.0
    length: int = 1
    magnitude: float = 1.0
    flops: int = 0
    tags: tuple[Tag, ...] = ()

    def make_inputs(self, dtype: np.dtype, *, seed: int = 0) -> list[Array]:
        """Fresh arrays, which a kernel may write over. They are the same at every call.

        Integers are rounded away from 0, so that divisors are never 0 where floats are not; unsigned ones are absolute
        values. Truths are what lies above the middle.
        """
        random = np.random.default_rng(seed)
        return [self._make_input(position, given, dtype, random) for position, given in enumerate(self.inputs)]

    def is_tested(self, position: int) -> bool:
        """Whether this input has the dtype under test, and none of its own."""
        given = self.inputs[position]
        if isinstance(given, np.ndarray):
            return given.dtype == np.float64 and position not in self.keep
        return not isinstance(given, Typed)

    def _make_input(self, position: int, given: Any, dtype: np.dtype, random: np.random.Generator) -> Array:
        if isinstance(given, np.ndarray):
            return given.astype(dtype if self.is_tested(position) else given.dtype, order="C", copy=True)
        if isinstance(given, Typed) and np.dtype(given.dtype).kind == "i":
            return np.asarray(random.integers(0, given.below, given.shape), given.dtype)
        shape, own = _shape_and_dtype(given, dtype)
        numbers = np.asarray(random.uniform(self.low, self.high, shape))
        if own.kind == "b":
            return np.asarray(numbers > (self.low + self.high) / 2)
        if own.kind in "iu":
            numbers = np.where(numbers < 0, np.floor(numbers), np.ceil(numbers))
            numbers = np.abs(numbers) if own.kind == "u" else numbers
        return np.asarray(numbers).astype(own)

    def problem(self, dtype: DType, device: Device = CPU, *, op: str = "") -> Problem:
        """What a kernel of `op`, by default the call's own, is chosen for."""

        def type_of(position: int, given: Any) -> TensorType:
            if isinstance(given, np.ndarray):
                own = dtype if self.is_tested(position) else from_numpy(given.dtype)
                return tensor_type(given.shape, own, device=device)
            shape, numbers = _shape_and_dtype(given, dtype.numpy)
            return tensor_type(shape, as_dtype(numbers), device=device)

        inputs, outputs = ([type_of(*pair) for pair in enumerate(given)] for given in (self.inputs, self.outputs or ()))
        return Problem(op or self.op, inputs, outputs, self.attrs)


def large(label: str, *inputs: Any, flops: int = 0, **attrs: Any) -> Call:
    """A call that benchmarks time: sizes of training, on values around one, so that no kernel takes a special path."""
    return Call(label=label, inputs=inputs, attrs=attrs, low=0.5, high=1.5, flops=flops, tags=("large",))


def outputs_of(problem: Problem) -> list[Array]:
    """Arrays to write the outputs of a problem into, filled with a value that no result has by chance."""
    return [np.full(each.array_shape, 77, each.array_dtype) for each in problem.outputs]


def _shape_and_dtype(given: Shape | Typed, dtype: np.dtype) -> tuple[Shape, np.dtype]:
    return (given.shape, np.dtype(given.dtype)) if isinstance(given, Typed) else (given, dtype)
