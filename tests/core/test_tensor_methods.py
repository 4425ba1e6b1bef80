"""The signatures that type checkers see are those of the methods that the op families install."""

from __future__ import annotations

import ast
import inspect

import dtrain.functional  # noqa: F401  loads every family
from dtrain.core import peer_method_types, tensor_methods
from dtrain.core.tensor import Tensor


def _declared() -> dict[str, ast.FunctionDef]:
    trees = [ast.parse(inspect.getsource(module)) for module in (tensor_methods, peer_method_types)]
    return {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def _installed() -> dict[str, object]:
    return {
        name: value
        for name, value in vars(Tensor).items()
        if getattr(value, "__module__", "").startswith("dtrain.ops") or isinstance(value, property)
    }


def test_every_installed_method_is_declared():
    own = {name for name, value in vars(Tensor).items() if isinstance(value, property) and value.fget is not None}
    own_properties = {name for name in own if vars(Tensor)[name].fget.__module__ == "dtrain.core.tensor"}
    # `size` is declared by Tensor itself, `__getattr__` would hide misspelt names from type checkers.
    assert set(_installed()) - own_properties - {"size", "__getattr__"} <= set(_declared())


def test_every_declared_method_is_installed():
    assert [name for name in _declared() if name not in vars(Tensor)] == []


def test_declared_options_exist():
    for name, node in _declared().items():
        method = vars(Tensor)[name]
        if isinstance(method, property):
            continue
        options = [*node.args.args[len(node.args.args) - len(node.args.defaults) :], *node.args.kwonlyargs]
        actual = inspect.signature(method).parameters
        assert [option.arg for option in options if option.arg not in actual] == [], name
