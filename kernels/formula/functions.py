"""The functions that formulas are made of, and their derivatives: one line each.

What a function computes stands where it is computed: `kernels/reference/formulas.py` for arrays, `ops/formulas.py` for
tensors, `cpp_text.py` for vectors.
"""

from __future__ import annotations

from collections.abc import Callable

from dtrain.kernels.formula.expression import Expression, Number, apply

# f′(u) of a function of one argument, given u and f(u).
Derivative = Callable[[Expression, Expression], Expression]

DERIVATIVES: dict[str, Derivative] = {
    "abs": lambda u, y: apply("sign", u),
    "sign": lambda u, y: Number(0),
    "exp_non_positive": lambda u, y: y,  # exp(min(u, 0)), for formulas that choose it where u ≤ 0
    "expm1_non_positive": lambda u, y: apply("exp_non_positive", u),
    "sigmoid": lambda u, y: y * (1 - y),
    "softplus": lambda u, y: apply("sigmoid", u),  # log(1 + eᵘ)
    "tanh": lambda u, y: 1 - y * y,
}
# Two arguments, and a kink where they are equal.
KINKS = ("maximum", "minimum")
