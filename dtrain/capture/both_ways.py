"""The error for one tensor that a traced function knows under two names and changes under one of them."""

from __future__ import annotations

from dtrain.base.errors import TraceError, expected
from dtrain.core.tensor import Tensor


def both_ways(where: str, tensor: Tensor) -> TraceError:
    """`tensor` comes as an argument and by another way."""
    return TraceError(
        expected(
            f"traced function at {where}",
            "a tensor that it changes to come in one way",
            f"{tensor.name or 'a tensor'} {tensor.type} as an argument and once more",
            "leave it out of the arguments, or pass it once",
        )
    )
