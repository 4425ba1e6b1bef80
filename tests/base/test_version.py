"""The version is written once."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

import dtrain as dt
from dtrain.base.version import VERSION

ROOT = Path(__file__).parents[2]


def test_package_metadata_and_command_say_the_same():
    assert dt.__version__ == VERSION == importlib.metadata.version("dtrain")
    done = subprocess.run([sys.executable, "-m", "dtrain", "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout == f"dtrain {VERSION}\n"


def test_no_other_file_says_it():
    sources = [ROOT / "pyproject.toml", *(ROOT / "dtrain").rglob("*.py"), ROOT / "CMakeLists.txt"]
    assert [str(path) for path in sources if VERSION in path.read_text()] == [str(ROOT / "dtrain/base/version.py")]
