"""dtrain.functional: every name is a documented function, and every example in a docstring gives what it says."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from typing import Any

import pytest

import dtrain.functional as F
from dtrain.core.tensor_factory import tensor

FUNCTIONS = {name: value for name, value in vars(F).items() if callable(value) and not name.startswith("_")}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_has_a_docstring(name: str) -> None:
    text = FUNCTIONS[name].__doc__
    assert text and text.strip(), name


@pytest.mark.parametrize("name", [name for name, f in FUNCTIONS.items() if ">>>" in (f.__doc__ or "")])
def test_examples_run(name: str) -> None:
    globs: dict[str, Any] = {**FUNCTIONS, "tensor": tensor, "F": F}
    examples = doctest.DocTestParser().get_doctest(_docstring(FUNCTIONS[name]), globs, name, None, None)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    output: list[str] = []
    runner.run(examples, out=output.append)
    assert examples.examples
    assert runner.failures == 0, "".join(output)


def _docstring(function: Callable[..., Any]) -> str:
    assert function.__doc__ is not None
    return function.__doc__
