"""The functions that formulas are made of, and their derivatives: one line each.

What a function computes stands where it is computed: `kernels/reference/formulas.py` for arrays,
`ops/on_tensors.py` for tensors, `vectors.py` for compiled kernels.
"""

from __future__ import annotations

from collections.abc import Callable

from dtrain.kernels.formula.expression import Expression, Number, apply

# f′(u) of a function of one argument, given u and f(u).
Derivative = Callable[[Expression, Expression], Expression]

DERIVATIVES: dict[str, Derivative] = {
    "abs": lambda u, y: apply("sign", u),
    "sign": lambda u, y: Number(0),
    "square": lambda u, y: u * 2,
    "sqrt": lambda u, y: 0.5 / y,
    "rsqrt": lambda u, y: -0.5 * (y * y * y),
    "exp": lambda u, y: y,
    "expm1": lambda u, y: y + 1,
    "log": lambda u, y: 1 / u,
    "log1p": lambda u, y: 1 / (u + 1),
    "round": lambda u, y: Number(0),
    "ceil": lambda u, y: Number(0),
    "floor": lambda u, y: Number(0),
    "sin": lambda u, y: apply("cos", u),
    "cos": lambda u, y: -apply("sin", u),
    "tan": lambda u, y: y * y + 1,
    "asin": lambda u, y: apply("rsqrt", (1 - u) * (1 + u)),
    "acos": lambda u, y: -apply("rsqrt", (1 - u) * (1 + u)),
    "atan": lambda u, y: 1 / (u * u + 1),
    "sinh": lambda u, y: apply("cosh", u),
    "cosh": lambda u, y: apply("sinh", u),
    "tanh": lambda u, y: 1 - y * y,
    "asinh": lambda u, y: apply("rsqrt", u * u + 1),
    "acosh": lambda u, y: apply("rsqrt", (u - 1) * (u + 1)),
    "atanh": lambda u, y: 1 / ((1 - u) * (1 + u)),
    "erf": lambda u, y: apply("exp", -(u * u)) * 1.1283791670955126,  # 2/√π
    "exp_non_positive": lambda u, y: y,  # exp(min(u, 0)), for formulas that choose it where u ≤ 0
    "expm1_non_positive": lambda u, y: apply("exp_non_positive", u),
    "sigmoid": lambda u, y: y * (1 - y),
    "softplus": lambda u, y: apply("sigmoid", u),  # log(1 + eᵘ)
}
# Two arguments, and a kink where they are equal.
KINKS = ("maximum", "minimum")

# Results are among the arguments, or as exact as they are.
EXACT = frozenset(
    ("neg", "where", "keep_nan", "greater", "greater_equal", "equal", "not_equal", "and", "or", "detach", *KINKS)
)

# NumPy's name where it is another. What is in no list has NumPy's.
NUMPY_NAMES = {
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "neg": "negative",
    "abs": "absolute",
    "floor_div": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "round": "rint",
    "asin": "arcsin",
    "acos": "arccos",
    "atan": "arctan",
    "atan2": "arctan2",
    "asinh": "arcsinh",
    "acosh": "arccosh",
    "atanh": "arctanh",
}
# What an op of this name alone computes: functions of NumPy, and what stands beside them in the references.
ELEMENTARY = frozenset(
    (*NUMPY_NAMES, "add", "maximum", "minimum", "sign", "square", "sqrt", "exp", "expm1", "log", "log1p", "ceil",
     "floor", "sin", "cos", "tan", "sinh", "cosh", "tanh", "erf")
)  # fmt: skip
