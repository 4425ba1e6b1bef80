"""The examples in docstrings of the op families are run."""

from __future__ import annotations

import doctest
import importlib

import pytest

import dtrain.functional
from dtrain.core.tensor_factory import tensor
from dtrain.ops import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_examples_give_what_they_say(family):
    module = importlib.import_module(f"dtrain.ops.{family}")
    failed, _ = doctest.testmod(module, globs={**vars(dtrain.functional), "tensor": tensor, **vars(module)})
    assert failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    modules = [importlib.import_module(f"dtrain.ops.{family}") for family in FAMILIES]
    assert sum(len(test.examples) for module in modules for test in finder.find(module)) >= 25
