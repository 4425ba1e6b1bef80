"""`dtrain doctor`: one line a finding, and an exit code."""

from __future__ import annotations

import os
import resource
import socket
from types import SimpleNamespace

import pytest

from dtrain.launcher.backends.table import BACKENDS
from dtrain.launcher.command import doctor as doctor_module
from dtrain.launcher.command import doctor_system
from dtrain.launcher.command.doctor import CHECKS, Finding, doctor
from dtrain.launcher.plan.mpi_installation import MpiInstallation, find_mpirun


def test_one_line_for_each_check(capsys):
    code = doctor([])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS)
    assert code == (1 if any(line.startswith("MISSING") for line in lines) else 0)
    assert [line.split()[1] for line in lines] == [
        "python", "dtrain", "cores", *BACKENDS, "mpi4py", "kernels", "cuda",
        "shm", "files", "tmp", "loopback", "ranks",
    ]  # fmt: skip
    if find_mpirun() is not None:
        assert "linked to" in next(line for line in lines if line.split()[1] == "mpi4py")
        assert "two started and added up: sum 3 by" in lines[-1]


@pytest.mark.parametrize(("ok", "code", "mark"), [(True, 0, "ok"), (None, 0, "absent"), (False, 1, "MISSING")])
def test_exit_code(monkeypatch, capsys, ok, code, mark):
    monkeypatch.setattr(doctor_module, "CHECKS", (lambda: Finding("thing", ok, "text"),))
    assert doctor([]) == code
    assert capsys.readouterr().out == f"{mark:<7} thing      text\n"


OPENMPI_LIBRARY, MPICH_LIBRARY = "Open MPI v5.0.8, package: x", "MPICH Version: 4.2.0"


@pytest.mark.parametrize(
    ("family", "library", "is_wrong"),
    [
        ("openmpi", OPENMPI_LIBRARY, False),
        ("hydra", MPICH_LIBRARY, False),
        ("hydra", "Intel(R) MPI Library 2021.9", False),
        ("openmpi", MPICH_LIBRARY, True),
        ("hydra", OPENMPI_LIBRARY, True),
    ],
)
def test_two_mpis_are_told_apart(family, library, is_wrong):
    problem = doctor_module.mismatch(MpiInstallation("/x/mpirun", family, (1,)), library)
    assert ("ranks would not meet; put the mpirun of" in problem) is is_wrong


def test_what_the_system_lacks(monkeypatch, tmp_path):
    small = SimpleNamespace(f_bavail=256, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: small)
    assert doctor_system.shared_memory()[1].startswith("1 MiB free in /dev/shm; give it more: docker run --shm-size=1g")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (24, 4096))
    assert doctor_system.open_files() == (False, "at most 24; raise it: ulimit -n 1024")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    assert not doctor_system.temporary_folder()[0]
    assert "set TMPDIR to a folder that can be written" in doctor_system.temporary_folder()[1]
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert doctor_system.temporary_folder() == (True, str(tmp_path))

    def refuse(*_, **__):
        raise OSError(101, "Network is unreachable")

    assert doctor_system.loopback()[0]
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert doctor_system.loopback() == (
        False, "127.0.0.1: Network is unreachable; bring it up: ip link set lo up"
    )  # fmt: skip


ENDED = """Traceback (most recent call last):
  File "doctor_ranks.py", line 19, in <module>
    main()
ImportError: dtrain: expected a compiled module of these sources
note of rank 0
dtrain: rank 0 of 2 failed
"""


def test_a_traceback_is_told_by_its_exception(monkeypatch):
    """Not by its first lines; and a compiled module that does not load is not called compiled."""
    monkeypatch.setattr(doctor_module.importlib.util, "find_spec", lambda name: SimpleNamespace())
    ended = SimpleNamespace(returncode=1, stdout="", stderr=ENDED)
    monkeypatch.setattr(doctor_module.subprocess, "run", lambda *_, **__: ended)
    said = "ImportError: dtrain: expected a compiled module of these sources"
    assert doctor_module._kernels() == Finding("kernels", False, said)
    assert doctor_module._ranks() == Finding("ranks", False, said)
    ended.stderr = "could not start\nno room\n"
    assert doctor_module._ranks() == Finding("ranks", False, "could not start; no room")


def test_ranks_that_do_not_meet_fail_the_doctor(monkeypatch):
    done = SimpleNamespace(returncode=125, stdout="", stderr=f"{'-' * 72}\ndtrain: could not start\n  because\n")
    monkeypatch.setattr(doctor_module.subprocess, "run", lambda *_, **__: done)
    assert doctor_module._ranks() == Finding("ranks", False, "dtrain: could not start;   because")


@pytest.mark.distributed
def test_ranks_are_started_with_the_settings_of_a_job(monkeypatch):
    monkeypatch.setenv("DTRAIN_COLLECTIVE_TIMEOUT", "nan")
    finding = doctor_module._ranks()
    assert finding.ok is False
    assert "DTRAIN_COLLECTIVE_TIMEOUT" in finding.text and "nan" in finding.text
