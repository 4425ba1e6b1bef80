"""`dtrain doctor`: one line a finding, and an exit code."""

from __future__ import annotations

import pytest

from dtrain.launcher import doctor as doctor_module
from dtrain.launcher.doctor import CHECKS, Finding, doctor
from dtrain.launcher.mpi_installation import find_mpirun


def test_one_line_for_each_check(capsys):
    code = doctor([])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(CHECKS)
    assert code == (1 if any(line.startswith("MISSING") for line in lines) else 0)
    assert [line.split()[1] for line in lines] == [
        "python", "dtrain", "cores", "mpirun", "mpi4py", "kernels", "cuda", "ray"
    ]  # fmt: skip
    if find_mpirun() is not None:
        assert "linked to" in lines[4]


@pytest.mark.parametrize(("ok", "code", "mark"), [(True, 0, "ok"), (None, 0, "absent"), (False, 1, "MISSING")])
def test_exit_code(monkeypatch, capsys, ok, code, mark):
    monkeypatch.setattr(doctor_module, "CHECKS", (lambda: Finding("thing", ok, "text"),))
    assert doctor([]) == code
    assert capsys.readouterr().out == f"{mark:<7} thing      text\n"
