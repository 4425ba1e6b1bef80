"""pip, called as a program: what it downloads, and what it says when it cannot."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dtrain.base.errors import LaunchError, expected
from dtrain.launcher.bundle.target import Target


def pip(*arguments: str, what: str) -> None:
    """Run this interpreter's pip. Raises LaunchError with pip's own last words."""
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in (done.stderr + done.stdout).splitlines() if not line.startswith("WARNING")]
        raise LaunchError(expected(f"dtrain bundle: {what}", "pip to end well", " / ".join(said[-6:]) or "no word"))


def download(folder: Path, target: Target, wanted: Sequence[str], *, with_dependencies: bool = True) -> None:
    """Download wheels that the target takes, with all that they need."""
    if not wanted:
        return
    flags = target.pip_flags() if with_dependencies else [*target.pip_flags(), "--no-deps"]
    pip("download", "--dest", str(folder), *flags, *wanted, what="download " + ", ".join(wanted))
