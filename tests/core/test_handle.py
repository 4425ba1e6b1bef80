"""Handles of hooks: called, removed, or left at the end of a block, they take one registration away, once."""

from __future__ import annotations

import copy
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


def test_the_right_one_of_two_equal_hooks_goes():
    order: list[str] = []
    module = nn.Identity()

    def named(name):
        return lambda *given: order.append(name)

    same = named("same")
    first = module.register_forward_hook(same)
    module.register_forward_hook(named("middle"))
    module.register_forward_hook(same)
    first.remove()
    module(dt.ones(1))
    assert order == ["middle", "same"]


def test_with_a_block_and_in_copies():
    seen: list[int] = []
    module = nn.Identity()
    with module.register_forward_hook(lambda *given: seen.append(1)) as handle:
        twin = copy.deepcopy(module)
        module(dt.ones(1))
    module(dt.ones(1))
    handle.remove()
    assert seen == [1]
    twin(dt.ones(1))
    assert seen == [1, 1]  # a copy has hooks of its own
