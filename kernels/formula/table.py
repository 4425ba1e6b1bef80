"""Elementwise ops with a gradient of their own, a row each. From a row follow

    the reference      kernels/reference/formulas.py evaluates it and its gradient on NumPy and CuPy arrays
    the gradient rule  ops/formulas.py registers the op, `<name>_backward` and the derivative of that
    compiled kernels   write_cpp.py writes them for every instruction set and element type when the module is built
    tests, benchmark   of all of these, by enumeration

A formula is compiled if `cpp_text.py` knows all its functions; otherwise the reference serves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

from dtrain.kernels.formula.derivative import derivative, scaled
from dtrain.kernels.formula.expression import (
    Expression,
    Number,
    Parameter,
    Value,
    apply,
    clip,
    depends_on,
    maximum,
    parts,
    replaced,
    where,
)

X, Y, GRAD = Value("x"), Value("y"), Value("grad")


@dataclass(frozen=True)
class Kernel:
    """What one call computes, and from what, in the order of its inputs."""

    name: str
    inputs: tuple[Value, ...]
    formula: Expression

    @cached_property
    def parameters(self) -> tuple[str, ...]:
        """The attributes that a call gives, in the order in which the formula reads them first."""
        return tuple(dict.fromkeys(part.name for part in parts(self.formula) if isinstance(part, Parameter)))


@dataclass(frozen=True)
class Row:
    """An op: its formula in x, and the slope where the output says it better.

    name: of the op; the gradient op is `<name>_backward`, of the gradient and of x, or of y where that says enough.
    slope: the derivative in terms of y; left out it is derived.
    parameters: the op's attributes, and what tests give for them.
    is_elementary: the op itself stands with the elementary functions, which NumPy has; the gradient op follows.
    """

    name: str
    formula: Expression
    slope: Expression | None = None
    parameters: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    is_elementary: bool = False

    @cached_property
    def derivative(self) -> Expression:
        """The slope in x, or in y where nothing else of x is needed."""
        if self.slope is not None:
            return self.slope
        by_input = derivative(self.formula, X)
        by_output = replaced(by_input, {self.formula: Y})
        return by_input if depends_on(by_output, X) else by_output

    @property
    def saved(self) -> Value:
        """What the gradient is computed from."""
        return Y if depends_on(self.derivative, Y) else X

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Of the op, and of its gradient."""
        gradient = scaled(GRAD, self.derivative, self.saved)
        backward = Kernel(f"{self.name}_backward", (GRAD, self.saved), gradient)
        return (backward,) if self.is_elementary else (Kernel(self.name, (X,), self.formula), backward)

    @property
    def second(self) -> Expression:
        """The derivative of the slope, by what it is computed from."""
        return derivative(self.derivative, self.saved)


def _between(low: float, high: float, slope: Expression) -> Expression:
    """A slope of y between two limits, where it stays."""
    return where(low < Y, where(high > Y, slope, 0), 0)


_SIXTH = apply("div", 1, 6)

ROWS = (
    Row("relu", maximum(X, 0), slope=where(Y > 0, 1, 0)),
    Row("relu6", clip(X, 0, 6), slope=_between(0, 6, Number(1))),
    Row(
        "leaky_relu",
        where(X > 0, X, X * Parameter("negative_slope")),
        parameters={"negative_slope": (0.01, 0.3)},
    ),
    Row(
        "elu",
        where(X > 0, X, apply("expm1_non_positive", X) * Parameter("alpha")),
        parameters={"alpha": (1.0, 0.5)},
    ),
    Row("sigmoid", apply("sigmoid", X)),
    Row("silu", X * apply("sigmoid", X)),
    Row("hsigmoid", clip(X + 3, 0, 6) / 6, slope=_between(0, 1, _SIXTH)),
    Row("hswish", X * clip(X + 3, 0, 6) / 6),
    Row(
        "softplus",
        apply("softplus", X * Parameter("beta")) / Parameter("beta"),
        parameters={"beta": (1.0, 2.0)},
    ),
    Row("softsign", X / (1 + apply("abs", X))),
    Row("tanh", apply("tanh", X), is_elementary=True),
)
KERNELS = tuple(kernel for row in ROWS for kernel in row.kernels)
_GIVEN = {kernel.name: row.parameters for row in ROWS for kernel in row.kernels}


def attributes_of(kernel: Kernel) -> Iterator[dict[str, float]]:
    """The attributes that tests and benchmarks give it."""
    given = {name: _GIVEN[kernel.name][name] for name in kernel.parameters}
    yield from (dict(zip(given, numbers)) for numbers in product(*given.values()))
