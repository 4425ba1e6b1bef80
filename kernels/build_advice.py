"""What to do where the compiled module is not there: the advice depends on where dtrain was imported from."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

_PATTERN = "_cpu*.so"


def advice_without_module() -> str:
    """One sentence: install, install again, or keep this folder out of the way of what is installed."""
    root = find_spec("dtrain")
    assert root is not None
    assert root.origin is not None
    here = Path(root.origin).parent
    if not (here.parent / "pyproject.toml").exists():
        return "reinstall dtrain with a C++ compiler, or go on with slow NumPy kernels"
    installed = _installed()
    if installed is not None and installed != here:
        return (
            f"this is the source tree {here.parent}, which hides the dtrain installed in {installed.parent}: run "
            f"Python in another folder or with -P, or make the tree itself the installed one by `pip install -e .`"
        )
    return "this is a source tree: run `pip install -e .` in it with a C++ compiler, or go on with slow NumPy kernels"


def _installed() -> Path | None:
    """The package folder of an installed dtrain that has its compiled module."""
    try:
        folder = Path(str(distribution("dtrain").locate_file("dtrain")))
    except PackageNotFoundError:
        return None
    # An editable install leaves the compiled module there, and nothing that could be imported without the tree.
    is_whole = (folder / "__init__.py").exists() and any((folder / "kernels").glob(_PATTERN))
    return folder if is_whole else None
