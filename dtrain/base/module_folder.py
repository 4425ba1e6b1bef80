"""A folder of modules each of which is a word of a command: who adds a file adds the word, and its line in the list."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True, slots=True)
class ModuleFolder:
    """The modules of `package`, whose files lie in `path`."""

    package: str
    path: Path

    @property
    def names(self) -> list[str]:
        return sorted(file.stem for file in self.path.glob("*.py") if file.stem != "__init__")

    def load(self, name: str) -> ModuleType:
        """Import one of `names`."""
        return import_module(f"{self.package}.{name}")

    def listing(self) -> list[str]:
        """A line for each name, with the first line of its docstring behind the colon. Imports none of them."""
        names = self.names
        width = max(map(len, names))
        return [f"  {name:<{width}}  {self._what(name)}" for name in names]

    def _what(self, name: str) -> str:
        text = ast.get_docstring(ast.parse((self.path / f"{name}.py").read_text(encoding="utf-8"))) or ""
        return text.partition("\n")[0].partition(": ")[2].rstrip(".")
