"""Handles of hooks: called, removed, or left at the end of a block, they take one registration away, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import dtrain as dt
from dtrain import nn


def registrations() -> dict[str, Callable[[Any], Any]]:
    """Every way to register a hook; each gives (register, use) for a hook that appends to a list."""

    def forward() -> tuple[Any, Any]:
        layer = nn.Linear(2, 2)
        return layer.register_forward_hook, lambda: layer(dt.zeros(1, 2))

    def before() -> tuple[Any, Any]:
        layer = nn.Linear(2, 2)
        return layer.register_forward_pre_hook, lambda: layer(dt.zeros(1, 2))

    def leaf() -> tuple[Any, Any]:
        x = dt.tensor([1.0], requires_grad=True)
        return x.register_grad_hook, lambda: (x * x).sum().backward()

    def result() -> tuple[Any, Any]:
        x = dt.tensor([1.0], requires_grad=True)
        y = x * x
        return y.register_hook, lambda: y.sum().backward(retain_graph=True)

    return {"forward": forward, "before": before, "leaf": leaf, "result": result}


@pytest.mark.parametrize("kind", registrations())
@pytest.mark.parametrize("way", ["call", "remove", "block"])
def test_a_handle_takes_its_hook_away(kind: str, way: str) -> None:
    register, use = registrations()[kind]()
    calls: list[int] = []
    hook = lambda *given: calls.append(1)  # noqa: E731
    register(hook)
    handle = register(hook)  # the same function twice is two registrations
    use()
    assert len(calls) == 2
    if way == "block":
        with handle:
            pass
    else:
        handle() if way == "call" else handle.remove()
    use()
    assert len(calls) == 3
    handle.remove()  # again: nothing
    use()
    assert len(calls) == 4
