"""Elementwise functions of one input, one row each: name, formula, where tests draw the input, gradient.

Integers are taken as f32 where the result is not an integer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dtrain.base.dtype import ALL, FLOATS, NUMBERS, DType
from dtrain.base.tensor_type import TensorType
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.graph.layout_rules import computes_lane_by_lane
from dtrain.graph.op import Op, Sample, get_op, register_op
from dtrain.ops.cast import as_floating, copy
from dtrain.ops.infer import floating
from dtrain.ops.precision import rounded_once

Rule = Callable[[Tensor, Tensor], Tensor]
Unary = Callable[[Any], Tensor]
Samples = Callable[[], list[Sample]]


def unary_samples(low: float, high: float, *, grad: bool = True) -> Samples:
    """One input: two axes, none, no elements, a prime."""
    shapes = ((2, 3), (), (0, 3), (17,))
    return lambda: [Sample(inputs=(shape,), low=low, high=high, grad=grad) for shape in shapes]


def unary(
    name: str,
    doc: str,
    low: float = -2.0,
    high: float = 2.0,
    *,
    by_input: Rule | None = None,
    by_output: Rule | None = None,
    dtypes: tuple[DType, ...] = FLOATS,
    keeps_integers: bool = False,
) -> Unary:
    """Register an op of one input and return its public function.

    `by_input(grad, x)` or `by_output(grad, y)` is the gradient rule; the input is drawn from [low, high) in tests.
    An op for floats only takes integers as f32, or gives them back if it `keeps_integers`.
    """
    floats_only = dtypes is FLOATS
    input_rule, output_rule = by_input and rounded_once(by_input), by_output and rounded_once(by_output)

    def infer(x: TensorType) -> TensorType:
        return floating(name, x) if floats_only else x

    def grad_rule(node: TapeNode, grad: Tensor) -> tuple[Tensor]:
        if input_rule is not None:
            return (input_rule(grad, node.inputs[0]),)
        assert output_rule is not None
        return (output_rule(grad, node.outputs[0]),)

    differentiable = by_input is not None or by_output is not None
    op = register_op(
        Op(
            name=name,
            infer=infer,
            grad=grad_rule if differentiable else None,
            samples=unary_samples(low, high, grad=differentiable),
            dtypes=dtypes,
            saves_outputs=by_output is not None,
        )
    )
    computes_lane_by_lane(op)

    def function(x: Any) -> Tensor:
        if keeps_integers and as_tensor(x).dtype.is_integer:
            return copy(as_tensor(x))
        return apply(op, as_floating(x) if floats_only else x)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    return function


neg = unary("neg", "−x.", by_input=lambda g, x: -g, dtypes=NUMBERS)
abs = unary("abs", "|x|; the gradient at 0 is 0.", by_input=lambda g, x: g * sign(x), dtypes=ALL)
sign: Unary = unary("sign", "−1, 0 or 1.", by_input=lambda g, x: g * 0, low=0.5, dtypes=NUMBERS)
square = unary("square", "x².", by_input=lambda g, x: g * (x * 2), dtypes=NUMBERS)
sqrt = unary("sqrt", "√x.", 0.2, 3, by_output=lambda g, y: g * 0.5 / y)
rsqrt = unary("rsqrt", "1 / √x.", 0.2, 3, by_output=lambda g, y: g * -0.5 * (y * y * y))
reciprocal = unary("reciprocal", "1 / x.", 0.2, 3, by_output=lambda g, y: -g * (y * y))
exp = unary("exp", "eˣ.", by_output=lambda g, y: g * y)
expm1 = unary("expm1", "eˣ − 1, exact near 0.", by_output=lambda g, y: g * (y + 1))
log = unary("log", "The natural logarithm.", 0.2, 3, by_input=lambda g, x: g / x)
log1p = unary("log1p", "log(1 + x), exact near 0.", -0.5, 2, by_input=lambda g, x: g / (x + 1))


def _rounding(name: str, doc: str, low: float, high: float) -> Unary:
    return unary(
        name, f"{doc}; gradient 0; integers stay.", low, high, by_input=lambda g, x: g * 0, keeps_integers=True
    )


round = _rounding("round", "The nearest integer, even ones at halves", 0.6, 1.4)
ceil = _rounding("ceil", "The least integer not below x", 0.1, 0.9)
floor = _rounding("floor", "The greatest integer not above x", 0.1, 0.9)
sin = unary("sin", "Sine of radians.", by_input=lambda g, x: g * cos(x))
cos: Unary = unary("cos", "Cosine of radians.", by_input=lambda g, x: -g * sin(x))
tan = unary("tan", "Tangent of radians.", -1, 1, by_output=lambda g, y: g * (y * y + 1))
asin = unary("asin", "Arc sine in radians.", -0.8, 0.8, by_input=lambda g, x: g * rsqrt((1 - x) * (1 + x)))
acos = unary("acos", "Arc cosine in radians.", -0.8, 0.8, by_input=lambda g, x: -g * rsqrt((1 - x) * (1 + x)))
atan = unary("atan", "Arc tangent in radians.", by_input=lambda g, x: g / (x * x + 1))
sinh = unary("sinh", "Hyperbolic sine.", by_input=lambda g, x: g * cosh(x))
cosh: Unary = unary("cosh", "Hyperbolic cosine.", by_input=lambda g, x: g * sinh(x))
tanh = unary("tanh", "Hyperbolic tangent.", by_output=lambda g, y: apply(get_op("tanh_backward"), g, y))
asinh = unary("asinh", "Inverse hyperbolic sine.", by_input=lambda g, x: g * rsqrt(x * x + 1))
acosh = unary("acosh", "Inverse hyperbolic cosine.", 1.2, 3, by_input=lambda g, x: g * rsqrt((x - 1) * (x + 1)))
atanh = unary("atanh", "Inverse hyperbolic tangent.", -0.8, 0.8, by_input=lambda g, x: g / ((1 - x) * (1 + x)))


install_methods(
    {
        "__neg__": neg,
        "__abs__": abs,
        "abs": abs,
        "square": square,
        "sqrt": sqrt,
        "rsqrt": rsqrt,
        "exp": exp,
        "log": log,
        "tanh": tanh,
    }
)
