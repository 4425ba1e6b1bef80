"""Tests start Python by the hundred: those processes share compiled modules, whatever the environment says of them.

PYTHONDONTWRITEBYTECODE keeps folders of sources clean, but lets every process compile all of dtrain anew, which takes
longer than most of what is tested.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path


def share_bytecode(env: MutableMapping[str, str], folder: Path) -> bool:
    """Where nothing is to be written beside the sources, let `env` name a folder for it; whether that was so."""
    if not env.get("PYTHONDONTWRITEBYTECODE"):
        return False
    del env["PYTHONDONTWRITEBYTECODE"]
    env.setdefault("PYTHONPYCACHEPREFIX", str(folder))
    return True
