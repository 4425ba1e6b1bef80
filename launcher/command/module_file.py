"""Whether `-m NAME` can be run, found out without importing anything: the launcher is no place for the user's code.

`importlib.util.find_spec("a.b")` imports `a`; the search is done step by step here instead.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path


def problem_of_module(name: str) -> str:
    """What keeps a module from being run by `-m`, as advice; "" if nothing does."""
    if name.endswith(".py") and Path(name).exists():
        return "leave -m out to run a file"
    spec = find_module(name)
    if spec is None:
        return "run it from the folder that its package lies in, or install it"
    if spec.submodule_search_locations is None:
        return ""
    if find_module(f"{name}.__main__") is None:
        return f"the package needs a __main__.py, or name a module in it, such as {name}.train"
    return ""


def find_module(name: str) -> ModuleSpec | None:
    """A module as a rank will find it, the working directory first; None if it is nowhere. Imports nothing."""
    first, *rest = name.split(".")
    if not all(part.isidentifier() for part in (first, *rest)):
        return None
    sys.path.insert(0, "")
    try:
        spec = find_spec(first)
        for number in range(len(rest)):
            if spec is None or spec.submodule_search_locations is None:
                return None
            spec = _find_in(".".join([first, *rest[: number + 1]]), list(spec.submodule_search_locations))
        return spec
    except (ImportError, ValueError):
        return None
    finally:
        sys.path.pop(0)


def _find_in(name: str, folders: list[str]) -> ModuleSpec | None:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, folders)
        if spec is not None:
            return spec
    return None
