"""Modules of PyTorch that an import statement may name: `import dtrain.nn.functional as F`, `dtrain.utils.data` …

`MODULES` has those that are a module of ours under another name; others hold no more than names, which `names` knows. A
module that is not here at all gets the hint that its attribute would get.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from dtrain.base import names

MODULES: Mapping[str, str] = {
    "dtrain.distributed": "dtrain.collectives",
    "dtrain.nn.functional": "dtrain.functional",
    "dtrain.nn.modules": "dtrain.nn",
    "dtrain.nn.utils.clip_grad": "dtrain.optim.clipping",
    "dtrain.utils.data": "dtrain.data",
    "dtrain.utils.data.dataloader": "dtrain.data",
    "dtrain.utils.data.dataset": "dtrain.data",
    "dtrain.utils.data.distributed": "dtrain.data",
    "dtrain.utils.data.sampler": "dtrain.data",
    "dtrain.cuda.amp": "dtrain.amp",
}


class _Names(ModuleType):
    """A module that holds names of others only."""

    def __init__(self, path: str, place: str) -> None:
        super().__init__(path, f"`{path}` of PyTorch: what is here of it, under other names. See docs/coming-from.md.")
        self.__path__: list[str] = []
        self._place = place

    def __getattr__(self, word: str) -> object:
        if self._place == "multiprocessing" and word not in names.HINTS[self._place]:
            return getattr(importlib.import_module("multiprocessing"), word)  # of Python, as in PyTorch
        return names.lookup(self._place, word, names.ALIASES[self._place])

    def __dir__(self) -> list[str]:
        return sorted(names.ALIASES[self._place])


class _Loader(Loader):
    """Gives the module of ours, which stays what it is."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.own_spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        if self.own_spec is not None:  # the machinery has set that of the other name
            module.__spec__ = self.own_spec


class _Finder(MetaPathFinder):
    """Finds what the tables name; before others, which would load a file of ours a second time under that name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith("dtrain."):
            return None
        ours = _ours(fullname)
        if ours is not None:
            return ModuleSpec(fullname, _Loader(names.module_of(ours)))
        place = names.place_of(fullname)
        if place is not None and names.is_names_only(place):
            return ModuleSpec(fullname, _Loader(_Names(fullname, place)))
        return None


def _ours(path: str) -> str | None:
    """The module of ours that the table gives for this one, or for one that it lies in."""
    if path in MODULES:
        return MODULES[path]
    inside = max((name for name in MODULES if path.startswith(f"{name}.")), key=len, default=None)
    return None if inside is None else MODULES[inside] + path.removeprefix(inside)


class _Advice(MetaPathFinder):
    """Asked after all others have found nothing: says what to write in the place of a module that has a hint."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        parent, _, word = fullname.rpartition(".")
        place = names.place_of(parent)
        if place is not None and word in names.HINTS.get(place, {}):
            raise ModuleNotFoundError(names.hint(place, word, ()), name=fullname)


def install() -> None:
    """Let import statements find these modules."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
        sys.meta_path.append(_Advice())
