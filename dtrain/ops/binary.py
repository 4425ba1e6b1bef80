"""Elementwise arithmetic of two inputs with broadcasting.

Gradients undo broadcasting with `sum_to_shape`. Integers are taken as f32 where the result is not an integer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, nan
from typing import Any, Literal, TypeVar

from dtrain.base.dtype import ALL, NUMBERS
from dtrain.base.errors import expected
from dtrain.base.tensor_type import Shape, TensorType
from dtrain.core.apply import apply
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, install_methods
from dtrain.graph.layout_rules import computes_lane_by_lane
from dtrain.graph.op import Op, Sample, register_op
from dtrain.ops.cast import as_floating
from dtrain.ops.infer import broadcast_shapes
from dtrain.ops.precision import rounded_once
from dtrain.ops.reduction import sum_to_shape
from dtrain.ops.unary import Samples, log, square
from dtrain.ops.unary import abs as absolute

Gradient = Tensor | None
Pair = tuple[Gradient, Gradient]
Result = TypeVar("Result")


def binary_samples(low: float = -2.0, high: float = 2.0, *, grad: bool = True) -> Samples:
    """Two inputs: equal shapes, broadcasting both ways, a 0-d one, no elements."""
    shapes = (((2, 3), (2, 3)), ((4, 1, 3), (5, 1)), ((), (7,)), ((0, 3), (3,)))
    return lambda: [Sample(inputs=pair, low=low, high=high, grad=grad) for pair in shapes]


def binary(name: str, grad: Callable[..., Any] | None, samples: Samples | None = None, **options: Any) -> Op:
    """Register an op of two broadcast inputs of one dtype."""

    def infer(x: TensorType, y: TensorType) -> TensorType:
        return x if x is y else x.with_(shape=broadcast_shapes(name, x.shape, y.shape))

    op = Op(name=name, infer=infer, grad=grad, promotes=True, samples=samples or binary_samples(), **options)
    return computes_lane_by_lane(register_op(op))


def _sums(node: TapeNode, x_grad: Callable[[], Tensor], y_grad: Callable[[], Tensor]) -> Pair:
    """The gradients that are wanted, each summed to the shape of its input."""
    x, y = node.inputs
    return (
        sum_to_shape(x_grad(), x.shape) if node.needs_grad[0] else None,
        sum_to_shape(y_grad(), y.shape) if node.needs_grad[1] else None,
    )


def _composed(node: TapeNode, x_rule: Callable[..., Tensor], y_rule: Callable[..., Tensor], *values: Tensor) -> Pair:
    """`_sums` of rules of several ops on `values`: products, quotients and the sum are rounded together, once."""
    x, y = node.inputs
    return (
        _summed(x_rule, x.shape, *values) if node.needs_grad[0] else None,
        _summed(y_rule, y.shape, *values) if node.needs_grad[1] else None,
    )


@rounded_once
def _summed(rule: Callable[..., Tensor], shape: Shape, *values: Tensor) -> Tensor:
    return sum_to_shape(rule(*values), shape)


def _add_grad(node: TapeNode, grad: Tensor) -> Pair:
    return _sums(node, lambda: grad, lambda: grad)


def _sub_grad(node: TapeNode, grad: Tensor) -> Pair:
    return _sums(node, lambda: grad, lambda: -grad)


def _mul_grad(node: TapeNode, grad: Tensor) -> Pair:
    x, y = node.inputs
    if x.shape == y.shape:  # one product each
        return _sums(node, lambda: grad * y, lambda: grad * x)
    return (
        _summed(mul, x.shape, grad, y) if node.needs_grad[0] else None,
        _summed(mul, y.shape, grad, x) if node.needs_grad[1] else None,
    )


def _div_grad(node: TapeNode, grad: Tensor) -> Pair:
    return _composed(node, lambda g, x, y: g / y, lambda g, x, y: -g * (x / y) / y, grad, *node.inputs)


def _pow_grad(node: TapeNode, grad: Tensor) -> Pair:
    """x^0 is 1 whatever x, and 0^y is 0 around every y > 0: both have gradient 0, where the formulas give NaN.

    At 0^0 the slope is taken from the right. What 0^y does for y < 0 and NaN stays visible.
    """
    from dtrain.ops.where import where

    def base_grad(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return where(y == 0, 0.0, g * y * pow(x, where(y == 0, 1.0, y - 1)))

    def exponent_grad(g: Tensor, x: Tensor, y: Tensor) -> Tensor:
        is_flat = (x == 0) & (y >= 0)
        return where(is_flat, 0.0, g * pow(x, y) * log(where(is_flat, 1.0, x)))

    return _composed(node, base_grad, exponent_grad, grad, *node.inputs)


def _mod_grad(node: TapeNode, grad: Tensor) -> Pair:
    # The quotient that the value was computed with: ⌊x / y⌋ of a rounded x / y may be the next integer.
    return _composed(node, lambda g, x, y: g, lambda g, x, y: -g * floor_div(x, y), grad, *node.inputs)


def _extremum_grad(wins: Callable[[Tensor, Tensor], Tensor]) -> Callable[[TapeNode, Tensor], Pair]:
    """The larger (smaller) input takes the gradient; equal ones half each; where one is NaN, so are both gradients."""

    def grad_rule(node: TapeNode, grad: Tensor) -> Pair:
        from dtrain.ops.where import where

        x, y = (tensor.detach() for tensor in node.inputs)

        def share(first: Tensor, second: Tensor) -> Tensor:
            equal, has_nan = first == second, (first != first) | (second != second)
            part = where(equal, grad * 0.5, where(wins(first, second), grad, 0.0))
            return where(has_nan, nan, part)

        return _sums(node, lambda: share(x, y), lambda: share(y, x))

    return grad_rule


def _flat_grad(node: TapeNode, grad: Tensor) -> Pair:
    """Steps: slope 0 between them."""
    return _sums(node, lambda: grad * 0, lambda: grad * 0)


def _atan2_grad(node: TapeNode, grad: Tensor) -> Pair:
    """(x, −y) / (x² + y²), and 0 at the origin, where no slope is right."""
    from dtrain.ops.where import where

    def over_square(g: Tensor, part: Tensor, y: Tensor, x: Tensor) -> Tensor:
        larger = maximum(absolute(y.detach()), absolute(x.detach()))
        # Squares of numbers up to 1 stay in range; the scale cancels, also out of further derivatives.
        scale = where((larger > 0) & (larger < inf), larger, 1.0)
        total = (x / scale) * (x / scale) + (y / scale) * (y / scale)
        return g * (part / scale) / where(larger == 0, 1.0, total) / scale

    return _composed(
        node, lambda g, y, x: over_square(g, x, y, x), lambda g, y, x: -over_square(g, y, y, x), grad, *node.inputs
    )


def _positive() -> list[Sample]:
    return binary_samples(0.5, 2.0)()


def _holds_integers(types: Sequence[TensorType]) -> bool:
    return types[0].dtype.is_integer


ADD = binary("add", _add_grad, dtypes=ALL, grad_reads="none")
SUB = binary("sub", _sub_grad, dtypes=NUMBERS, grad_reads="none")
MUL = binary("mul", _mul_grad, dtypes=ALL, grad_reads="others")
DIV = binary("div", _div_grad, _positive)
# The divisor 0 and negative exponents have no meaning among integers.
FLOOR_DIV = binary("floor_div", _flat_grad, binary_samples(1.1, 1.9), dtypes=NUMBERS, checks=_holds_integers)
MOD = binary("mod", _mod_grad, binary_samples(1.1, 1.9), dtypes=NUMBERS, checks=_holds_integers)
POW = binary("pow", _pow_grad, _positive, dtypes=NUMBERS, checks=_holds_integers)
MAXIMUM = binary("maximum", _extremum_grad(lambda a, b: a > b), dtypes=ALL)
MINIMUM = binary("minimum", _extremum_grad(lambda a, b: a < b), dtypes=ALL)
ATAN2 = binary("atan2", _atan2_grad, _positive)


def add(x: Any, y: Any, *, alpha: float = 1) -> Tensor:
    """x + alpha·y with broadcasting and dtype promotion.

    >>> add(tensor([1.0, 2.0]), 10)
    Tensor([11., 12.], f32[2]@cpu)
    """
    return apply(ADD, x, y if alpha == 1 else mul(y, alpha))


def sub(x: Any, y: Any, *, alpha: float = 1) -> Tensor:
    """x − alpha·y with broadcasting and dtype promotion."""
    return apply(SUB, x, y if alpha == 1 else mul(y, alpha))


def mul(x: Any, y: Any) -> Tensor:
    """x · y with broadcasting and dtype promotion."""
    return apply(MUL, x, y)


def div(x: Any, y: Any, *, rounding_mode: Literal["floor", "trunc"] | None = None) -> Tensor:
    """x / y with broadcasting; integers are divided in f32.

    `rounding_mode` "floor" is `floor_div`, "trunc" rounds towards zero; integers stay integers then, the gradient is 0.

    >>> div(tensor([1, 2]), 2)
    Tensor([0.5, 1. ], f32[2]@cpu)
    """
    if rounding_mode is None:
        return apply(DIV, *_as_floats(x, y))
    if rounding_mode == "floor":
        return floor_div(x, y)
    if rounding_mode != "trunc":
        raise ValueError(expected("div", "rounding_mode 'floor', 'trunc' or None", repr(rounding_mode)))
    from dtrain.ops.rounding import divide_towards_zero

    return divide_towards_zero(x, y)


def floor_div(x: Any, y: Any) -> Tensor:
    """⌊x / y⌋ with broadcasting; gradient 0. Integers stay integers, and dividing them by 0 raises ZeroDivisionError.

    >>> floor_div(tensor([7, -7]), 2)
    Tensor([ 3, -4], s64[2]@cpu)
    """
    return apply(FLOOR_DIV, x, y)


def mod(x: Any, y: Any) -> Tensor:
    """x − y·⌊x / y⌋, which has the sign of y, as Python's %. Integers modulo 0 raise ZeroDivisionError.

    >>> mod(tensor([5.0, -5.0]), 3)
    Tensor([2., 1.], f32[2]@cpu)
    """
    return apply(MOD, x, y)


def pow(x: Any, y: Any) -> Tensor:
    """x to the power y. 0⁰ is 1; the gradient is 0 where x or y makes the result constant.

    Raises ValueError for an integer to a negative integer power.

    >>> pow(tensor([2.0, 3.0]), 2)
    Tensor([4., 9.], f32[2]@cpu)
    """
    if isinstance(x, Tensor) and isinstance(y, int | float) and y == 2:
        return square(x)
    return apply(POW, x, y)


def maximum(x: Any, y: Any) -> Tensor:
    """The larger of x and y, NaN if either is; equal ones share the gradient.

    >>> maximum(tensor([1.0, 5.0]), tensor([3.0, 2.0]))
    Tensor([3., 5.], f32[2]@cpu)
    """
    return apply(MAXIMUM, x, y)


def minimum(x: Any, y: Any) -> Tensor:
    """The smaller of x and y, NaN if either is; equal ones share the gradient."""
    return apply(MINIMUM, x, y)


def atan2(y: Any, x: Any) -> Tensor:
    """The angle in (−π, π] of the point (x, y)."""
    return apply(ATAN2, *_as_floats(y, x))


def _as_floats(x: Any, y: Any) -> tuple[Any, Any]:
    """The pair with at least one float in it: what promotion then gives both."""
    if isinstance(x, Tensor) and x.type.dtype.is_floating:
        return x, y
    if isinstance(y, Tensor) and y.type.dtype.is_floating:
        return x, y
    # Numbers stay as they are: they are weak, and take the dtype of the tensor beside them.
    if isinstance(x, Tensor):
        return as_floating(x), as_floating(y) if isinstance(y, Tensor) else y
    return (x, as_floating(y)) if isinstance(y, Tensor) else (as_floating(x), y)


def _quotients(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """`divmod(x, y)` of elements: (⌊x / y⌋, what is left)."""
    return floor_div(x, y), mod(x, y)


def _power(x: Any, y: Any, modulus: Any = None) -> Tensor:
    if modulus is not None:
        raise TypeError(expected("pow()", "a base and an exponent", "a modulus besides", "write x**y % modulus"))
    return pow(x, y)


def _reversed(function: Callable[[Any, Any], Result]) -> Callable[[Any, Any], Result]:
    return lambda x, y: function(y, x)


def _itself(x: Tensor) -> Tensor:
    return x


install_methods(
    {
        "__add__": add,
        "__radd__": _reversed(add),
        "__sub__": sub,
        "__rsub__": _reversed(sub),
        "__mul__": mul,
        "__rmul__": _reversed(mul),
        "__truediv__": div,
        "__rtruediv__": _reversed(div),
        "__floordiv__": floor_div,
        "__rfloordiv__": _reversed(floor_div),
        "__mod__": mod,
        "__rmod__": _reversed(mod),
        "__divmod__": _quotients,
        "__rdivmod__": _reversed(_quotients),
        "__pow__": _power,
        "__rpow__": _reversed(pow),
        "__pos__": _itself,
        "pow": pow,
    }
)
