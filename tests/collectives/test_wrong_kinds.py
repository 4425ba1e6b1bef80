"""Values of a wrong kind are named by every public call of the collectives, before anything is sent."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dtrain import collectives as dist
from dtrain.base.errors import DtrainError

WRONG = ("a", None, 1.5, [1, "x"], {"k": 1}, object())


@pytest.fixture
def world() -> Iterator[None]:
    dist.init()
    yield
    dist.finalize()


def with_arguments() -> dict[str, int]:
    """How many arguments each public function must have, of those that take any."""
    found = {}
    for name in sorted(dist.__all__):
        function = getattr(dist, name)
        if inspect.isclass(function) or not callable(function):
            continue
        given = inspect.signature(function).parameters.values()
        needed = [one for one in given if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
        if needed:
            found[name] = len(needed)
    return found


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: type(wrong).__name__)
@pytest.mark.parametrize("name", with_arguments())
def test_a_wrong_kind_is_named(name: str, wrong: Any) -> None:
    """What takes any value (an object, a name) may take it; what does not says what it expected."""
    function: Callable[..., Any] = getattr(dist, name)
    try:
        function(wrong, *[0] * (with_arguments()[name] - 1))
    except (DtrainError, TypeError, ValueError) as error:
        assert "expected" in str(error), f"{type(error).__name__}: {error}"
