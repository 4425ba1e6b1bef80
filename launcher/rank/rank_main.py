"""What every rank starts with: a small supervisor stays, a fork of it runs the user's script.

Run by path, `python …/launcher/rank_main.py [-m] script arguments…`, never imported: it may not run `dtrain/__init__`
before the launcher has said how many threads this rank gets, because NumPy sizes its thread pool when it is loaded.
See docs/design/0005-launcher.md.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Supervise one rank; the return value is what this process exits with."""
    sys.path.pop(0)  # this folder, whose file names would hide the user's modules
    _import_without_init("dtrain")
    from dtrain.launcher.rank.script import Script
    from dtrain.launcher.rank.supervisor import supervise

    as_module = arguments[0] == "-m"
    script, *rest = arguments[1:] if as_module else arguments
    return supervise(Script(name=script, arguments=tuple(rest), as_module=as_module).run)


def _import_without_init(package: str) -> None:
    """Put the package in place with its folders but without running its `__init__`."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise SystemExit(f"{package} is not installed for {sys.executable}; install it on every node")
    sys.modules[package] = importlib.util.module_from_spec(spec)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
