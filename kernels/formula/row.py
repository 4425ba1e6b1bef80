"""A row of the table: an elementwise op as a formula, and the kernels that follow from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from dtrain.kernels.formula.derivative import derivative, scaled
from dtrain.kernels.formula.expression import Expression, Value, depends_on, replaced
from dtrain.kernels.formula.kernel import Kernel
from dtrain.kernels.formula.simplify import ONE, simplified
from dtrain.kernels.formula.vectors import is_compiled

# The input and output of a function of one array, the inputs of a function of two, and the gradient that comes in.
X, Y, A, B, GRAD = Value("x"), Value("y"), Value("a"), Value("b"), Value("grad")


@dataclass(frozen=True)
class Row:
    """An op: its formula in x, or in a and b, which are broadcast.

    A gradient is derived from the formula, unless the row says it: where the output says it better, or a limit is to
    be taken. With several functions that vectors know it is an op of its own, `<name>_backward` of the gradient and of
    x, or of y where that says enough; `<name>_backward_a` and `_b` of the gradient, a and b. Else it is computed by
    the ops of its functions.

    slope: dy/dx in terms of y.
    gradients: by each input, in terms of the gradient and of x (or y), or of a and b.
    parameters: the op's attributes, and what tests give for them.
    dtypes: what the op takes: floats, numbers (integers too), or all (bools too).
    domain: where tests draw inputs from.
    checks_integers: it raises for some integers, such as a divisor 0.
    """

    name: str
    formula: Expression
    slope: Expression | None = None
    gradients: tuple[Expression, ...] | None = None
    parameters: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    dtypes: Literal["floats", "numbers", "all"] = "floats"
    domain: tuple[float, float] = (-4.0, 4.0)
    checks_integers: bool = False

    @cached_property
    def forward(self) -> Kernel:
        """The op itself."""
        is_binary = depends_on(self.formula, A)
        return Kernel(self.name, (A, B) if is_binary else (X,), self.formula)

    @property
    def is_binary(self) -> bool:
        return len(self.forward.inputs) == 2

    @cached_property
    def derivative(self) -> Expression:
        """dy/dx, in terms of y where nothing else of x is needed."""
        if self.gradients is not None:
            return simplified(replaced(self.gradients[0], {GRAD: ONE}))
        if self.slope is not None:
            return self.slope
        by_input = derivative(self.formula, X)
        by_output = replaced(by_input, {self.formula: Y})
        return by_input if depends_on(by_output, X) else by_output

    @property
    def saved(self) -> Value:
        """What the gradient of a function of x is computed from."""
        return Y if depends_on(self.derivative, Y) else X

    @cached_property
    def backward(self) -> tuple[Kernel, ...]:
        """The gradient by each input."""
        if self.is_binary:
            given = self.gradients or tuple(scaled(GRAD, derivative(self.formula, by), A, B) for by in (A, B))
            return tuple(
                Kernel(f"{self.name}_backward_{by}", (GRAD, A, B), formula) for by, formula in zip((A, B), given)
            )
        formula = self.gradients[0] if self.gradients else scaled(GRAD, self.derivative, self.saved)
        return (Kernel(f"{self.name}_backward", (GRAD, self.saved), formula),)

    @cached_property
    def backward_ops(self) -> tuple[Kernel, ...]:
        """The gradients that are ops of their own."""
        return tuple(kernel for kernel in self.backward if len(kernel.functions) > 1 and is_compiled(kernel))

    def is_op(self, kernel: Kernel) -> bool:
        """Whether this gradient is one of these."""
        return any(kernel is op for op in self.backward_ops)

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """Of the op, and of the ops of its gradients."""
        return (self.forward, *self.backward_ops)

    def second(self, kernel: Kernel, by: Value) -> Expression:
        """The slope of a gradient by what it is computed from."""
        slope = self.derivative if not self.is_binary else simplified(replaced(kernel.formula, {GRAD: ONE}))
        return derivative(slope, by)
