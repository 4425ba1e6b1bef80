"""Which function here an operator of PyTorch's database is. The one table; names that are the same need no line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dtrain as dt
import dtrain.functional as F

# Theirs -> ours, a path below dt, F or Tensor, where the rule of `ours_of` finds another one or none.
RENAMED = {
    "bitwise_left_shift": "F.left_shift",
    "bitwise_right_shift": "F.right_shift",
    "linalg.vector_norm": "F.norm",
    "repeat": "Tensor.tile",
    # The same word for something else: dt.trace records graphs; the database has two operators in one under "normal".
    **dict.fromkeys(("trace", "normal", "uniform"), ""),
}

# Arguments in another order, or a default that PyTorch reads off the input.
ADAPTED: dict[str, Callable[..., Any]] = {
    "nn.functional.embedding": lambda weight, indices, **options: F.embedding(indices, weight, **options),
    "nn.functional.rms_norm": lambda x, shape, weight=None, eps=None: F.rms_norm(
        x, shape, weight, float(dt.finfo(x.dtype).eps) if eps is None else eps
    ),
    "where": lambda x, condition, *other: F.where(condition, x, *other),
    "einsum": lambda operands, equation: F.einsum(equation, *operands),
    "zero_": lambda x: x.clone().zero_(),
}

# Results that are drawn: shape and dtype are compared, not numbers.
RANDOM = {
    "randn", "randn_like", "rand_like", "randint", "randint_like", "empty", "empty_like", "new_empty",
    "nn.functional.dropout", "nn.functional.dropout2d", "multinomial", "bernoulli",
}  # fmt: skip


def ours_of(name: str) -> Callable[..., Any] | None:
    """Our function of an operator, None if there is none.

    By name: of `nn.functional.x` it is F.x; of `x` it is dt.x, which has PyTorch's words of the top level, F.x or
    the method x.
    """
    if name in ADAPTED:
        return ADAPTED[name]
    if name in RENAMED:
        place, _, word = RENAMED[name].partition(".")
        return getattr({"F": F, "dt": dt, "Tensor": dt.Tensor}[place], word) if word else None
    head, _, word = name.rpartition(".")
    if head == "nn.functional":
        return _callable(F, word)
    if head:
        return None
    return _callable(dt, word) or _callable(F, word) or _callable(dt.Tensor, word)


def _callable(place: Any, word: str) -> Callable[..., Any] | None:
    try:
        found = getattr(place, word)
    except AttributeError:  # a hint in words; nothing of that name
        return None
    return found if callable(found) and not isinstance(found, type) else None
