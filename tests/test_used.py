"""Nothing stands in the product that only tests use: a function or class is public, or somebody in it asks for it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module

from helpers.import_graph import ROOT, source_files

# What users import from. A name in any of these is theirs.
PUBLIC = (
    "dtrain", "dtrain.amp", "dtrain.autograd", "dtrain.backends", "dtrain.backends.cudnn", "dtrain.backends.mps",
    "dtrain.checkpoint", "dtrain.collectives", "dtrain.collectives.horovod", "dtrain.cuda", "dtrain.data",
    "dtrain.events", "dtrain.functional", "dtrain.graph", "dtrain.kernels", "dtrain.models", "dtrain.nn",
    "dtrain.nn.init", "dtrain.optim", "dtrain.optim.lr_scheduler", "dtrain.testing",
)  # fmt: skip

# Decorators that make a definition known to nobody. Others register it, which is a use.
SILENT = ("dataclass", "cache", "lru_cache", "contextmanager", "runtime_checkable", "rounded_once", "final", "unique")

# Neither public nor used, each with the reason.
UNUSED = {
    "StateCell": "for whoever runs a graph on arrays, without tensors (docs/design/0007)",
    "forget_compiled": "tests exchange the compiler of CUDA",
}


def _definitions(tree: ast.Module) -> Iterator[str]:
    """The functions and classes at the top of a file that nothing registers."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            called = [each.func if isinstance(each, ast.Call) else each for each in node.decorator_list]
            if all(isinstance(each, ast.Name) and each.id in SILENT for each in called):
                yield node.name


def _asked_for(tree: ast.Module) -> Iterator[str]:
    """What a file reads or imports, also by strings that are names: `"module:function"`, `getattr(x, "name")`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"[\w.:\[\], |]+", node.value)
        ):
            yield from re.findall(r"\w+", node.value)


def test_what_nobody_asks_for_is_not_there() -> None:
    trees = [ast.parse(path.read_text()) for path in source_files()]
    asked = {name for tree in trees for name in _asked_for(tree)}
    asked.update(re.findall(r"\w+", (ROOT / "pyproject.toml").read_text()))
    asked.update(name for module in PUBLIC for name in dir(import_module(module)))
    unused = {name for tree in trees for name in _definitions(tree) if name not in asked and name[:2] != "__"}
    assert unused == set(UNUSED), "remove it, move it to tests/helpers, or say why it is there"
