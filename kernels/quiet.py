"""Kernels do not warn: 1/0 is ∞ and 0/0 is NaN, on every device, and whatever the user's warning filters say.

NumPy keeps how it reports such results in a context variable. Running a call in a context in which it reports nothing
costs 0.2 µs and leaves the user's own settings alone, in this thread and in all others.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_CONTEXT = Context()
_CONTEXT.run(np.seterr, all="ignore")

# `quiet_context().run(function, *args)` is `quiet(function)(*args)` without a frame in between, where that counts.
# A context can be entered once at a time, its copies by anyone: other threads, and signal handlers that compute.
quiet_context: Callable[[], Context] = _CONTEXT.copy


def quiet(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """The function with NumPy's floating-point reports off. It sees no context variable of its caller."""

    @wraps(function)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        return quiet_context().run(function, *args, **kwargs)

    return run
