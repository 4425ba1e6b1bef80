"""pip, called as a program: what it downloads, and what it says when it cannot."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dtrain.base.errors import LaunchError, expected
from dtrain.launcher.bundle.target import Target

# How pip says that no file of a package is for the target.
NOTHING_FITS = "No matching distribution found"


def pip(*arguments: str, what: str, advice: str = "") -> None:
    """Run this interpreter's pip. Raises LaunchError with pip's own last words; `advice` where nothing fits."""
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = [line for line in (done.stderr + done.stdout).splitlines() if not line.startswith("WARNING")]
        words = " / ".join(said[-6:]) or "no word"
        raise LaunchError(
            expected(f"dtrain bundle: {what}", "pip to end well", words, advice if NOTHING_FITS in words else "")
        )


def download(folder: Path, target: Target, wanted: Sequence[str], *, with_dependencies: bool = True) -> None:
    """Download wheels that the target takes, with all that they need."""
    if not wanted:
        return
    flags = target.pip_flags() if with_dependencies else [*target.pip_flags(), "--no-deps"]
    advice = (
        f"it has none for Python {target.version} on {target.machine} with glibc 2.{target.glibc}, if the index could "
        "be reached: check --python, --machine and --glibc, or leave out with --present what is there"
    )
    pip("download", "--dest", str(folder), *flags, *wanted, what="download " + ", ".join(wanted), advice=advice)
