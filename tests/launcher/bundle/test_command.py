"""`dtrain bundle`: what it refuses, what it leaves behind, and the scripts on a machine that is not as expected."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dtrain import cli
from dtrain.base.errors import LaunchError
from dtrain.launcher.bundle import command, gpu_check, manifest, own_packages, pip, verify
from dtrain.launcher.bundle.target import Target

ROOT = Path(__file__).parents[3]
SCRIPTS = ROOT / "launcher" / "bundle"
HERE = ".".join(map(str, sys.version_info[:2]))


def made(folder: Path, **facts: object) -> Path:
    """A folder that looks like a bundle, with one file."""
    (folder / "wheels").mkdir(parents=True)
    (folder / "wheels" / "some-1-py3-none-any.whl").write_bytes(b"wheel")
    for name in ("install.sh", "verify.py"):
        shutil.copy(SCRIPTS / name, folder / name)
    target = Target(python=sys.version_info[:2], machine=platform.machine(), extras=())
    manifest.write(folder, target)
    found = {**json.loads((folder / manifest.NAME).read_text()), **facts}
    (folder / manifest.NAME).write_text(json.dumps(found, indent=1))
    return folder


def install(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", str(folder / "install.sh"), str(folder / "environment")],
        env={**os.environ, "PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_folder_that_is_in_use_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("kept")
    assert cli.main(["bundle", str(tmp_path)]) != 0
    assert "expected a new or an empty folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--python", "three"], "--python: expected a version such as 3.11, got 'three'"),
        (["--python", "3.9"], r"--python: expected at least 3\.10, which dtrain needs, got 3\.9"),
        (["--extras", "openmpi,gpus"], "--extras: expected names among .*got gpus"),
    ],
)
def test_wrong_flags(flags: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bundle", str(tmp_path / "new"), *flags]) != 0
    assert re.search(text, capsys.readouterr().err)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["file/new", "n" * 300])
def test_a_folder_that_cannot_be_made(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("kept")
    assert cli.main(["bundle", str(tmp_path / name)]) != 0
    assert re.search("dtrain bundle: expected a folder that can be made, got '.*': .*; name", capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_could_not_be_filled_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def add(folder: Path, target: Target, *, with_sources: bool) -> None:
        (folder / "half.whl").write_bytes(b"")

    def fail(folder: Path, target: Target, wanted: object) -> None:
        raise LaunchError("no index")

    monkeypatch.setattr(command, "add_own", add)
    monkeypatch.setattr(command, "download", fail)
    with pytest.raises(LaunchError, match="no index"):
        command.bundle([str(tmp_path / "new"), "--extras", ""])
    assert not (tmp_path / "new").exists()


def test_a_package_that_no_index_has_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    target = Target(python=(3, 12), machine="x86_64", extras=())
    with pytest.raises(LaunchError, match="download no-such-package-of-anybody: expected pip to end well, got"):
        command.download(tmp_path, target, ["no-such-package-of-anybody"])


def test_too_large_a_folder(tmp_path: Path) -> None:
    facts = {"files": {"wheels/nvidia_nccl.whl": {"nbytes": 90 << 20}, "wheels/numpy.whl": {"nbytes": 3 << 20}}}
    command._expect_size(facts, 3.5)
    with pytest.raises(LaunchError, match=r"expected at most 2 MiB, got 3\.00 MiB; leave out what is there: --present"):
        command._expect_size(facts, 2)


def test_a_wheel_for_a_newer_glibc_is_refused(tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "dtrain-1.whl", "w") as archive:
        archive.writestr("dtrain/kernels/_cpu.so", b"\x7fELF GLIBC_2.5 GLIBC_2.34 GLIBC_2.17")
    assert own_packages.needed_glibc(tmp_path / "dtrain-1.whl") == 34
    old = Target(python=(3, 11), machine="x86_64", extras=(), glibc=28)
    with pytest.raises(
        LaunchError, match=r"expected kernels for glibc 2\.28, got some that ask for 2\.34; .*--sources"
    ):
        own_packages._expect_glibc(tmp_path / "dtrain-1.whl", old)


class TestScripts:
    @pytest.mark.parametrize("name", ["install.sh", "gpu_check.sh"])
    def test_shells_read_them(self, name: str) -> None:
        subprocess.run(["sh", "-n", str(SCRIPTS / name)], check=True, timeout=10)

    def test_everything_arrived(self, tmp_path: Path) -> None:
        done = install(made(tmp_path / "b"), DRY="1")
        assert (done.returncode, done.stderr) == (0, "")

    def test_what_did_not_arrive_is_named(self, tmp_path: Path) -> None:
        folder = made(tmp_path / "b")
        wheel = folder / "wheels" / "some-1-py3-none-any.whl"
        wheel.write_bytes(b"whee")
        assert verify.faults(folder) == ["wheels/some-1-py3-none-any.whl has 4 bytes of 5"]
        wheel.write_bytes(b"wheeL")
        assert verify.faults(folder) == ["wheels/some-1-py3-none-any.whl has other contents"]
        wheel.unlink()
        done = install(folder)
        assert done.returncode == 1
        assert "wheels/some-1-py3-none-any.whl is missing; copy the folder again" in done.stderr
        assert not (folder / "environment").exists()

    def test_another_python(self, tmp_path: Path) -> None:
        done = install(made(tmp_path / "b", python="2.99"))
        assert done.returncode == 1
        assert f"install.sh: expected Python 2.99, got {HERE}" in done.stderr

    def test_another_processor(self, tmp_path: Path) -> None:
        done = install(made(tmp_path / "b", machine="riscv64"))
        assert f"expected a machine of type riscv64, got {platform.machine()}" in done.stderr

    def test_the_script_alone(self, tmp_path: Path) -> None:
        folder = made(tmp_path / "b")
        (folder / manifest.NAME).unlink()
        assert "expected bundle.json beside this script" in install(folder).stderr

    def test_the_manifest_tells_every_file(self, tmp_path: Path) -> None:
        folder = made(tmp_path / "b")
        files = json.loads((folder / manifest.NAME).read_text())["files"]
        assert set(files) == {"install.sh", "verify.py", "wheels/some-1-py3-none-any.whl"}
        fact = files["wheels/some-1-py3-none-any.whl"]
        assert fact == {"nbytes": 5, "sha256": hashlib.sha256(b"wheel").hexdigest()}


def test_a_step_of_the_check_that_fails_does_not_hold_up_the_next(tmp_path: Path) -> None:
    good = gpu_check.run("good", [sys.executable, "-c", "print('fine')"], tmp_path)
    bad = gpu_check.run("bad", [sys.executable, "-c", "raise SystemExit(3)"], tmp_path)
    none = gpu_check.run("none", ["no-such-program-of-anybody"], tmp_path)
    assert (good["code"], good["output"]) == (0, "fine\n")
    assert (bad["code"], none["code"]) == (3, 127)
    assert "no such program" in none["output"]


def test_a_step_of_the_check_that_hangs_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "STEP_SECONDS", 0.5)
    late = gpu_check.run(
        "late", [sys.executable, "-c", "import time; print('began', flush=True); time.sleep(60)"], tmp_path
    )
    assert late["code"] == 124
    assert late["output"].startswith("began") and "stopped after 0.5 s" in late["output"]


def test_a_target_for_which_there_are_no_wheels_is_told_apart_from_pip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "ERROR: No matching distribution found for numpy>=2"
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1, "", said))
    target = Target(python=(3, 99), machine="x86_64", extras=(), glibc=28)
    words = "No matching distribution found for numpy>=2; it has none for Python 3.99 on x86_64 with glibc 2.28, if the"
    with pytest.raises(LaunchError, match=re.escape(words)):
        pip.download(tmp_path, target, ["numpy>=2"])
