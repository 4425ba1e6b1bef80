"""What users get: sdist and wheel hold everything once, and a plain clone works without the compiled part."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
# Travels as data, so a packaging rule could lose it.
DATA = (
    "dtrain/py.typed",
    "dtrain/data/digits.npz",
    "dtrain/data/digits.ATTRIBUTION.txt",
    "dtrain/kernels/cuda/rank_order.cu",
    "dtrain/kernels/_cpu.pyi",
    "dtrain/collectives/_native.pyi",
    "dtrain/cli.py",
    "dtrain/launcher/bundle/install.sh",
    "dtrain/launcher/bundle/gpu_check.sh",
    "dtrain/collectives/public/session.py",
)


BUILD_TIME = datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc)
MODULES = ("dtrain/kernels/_cpu.", "dtrain/collectives/_native.")
LICENSES = ("LICENSE", "kernels/pybind11.LICENSE.txt", "dtrain/data/digits.ATTRIBUTION.txt")


def run(*command: str, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout + done.stderr


def tracked_copy(target: Path) -> Path:
    """The files that git tracks, with their links, as a clone would have them."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, copy = ROOT / name, target / name
        if source.exists() or source.is_symlink():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    return target


class Built(NamedTuple):
    """What `python -m build` makes of the tracked files, and the wheel unpacked beside nothing else."""

    source: Path
    sdist: Path
    wheel: Path
    site: Path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("packaging")
    source = tracked_copy(folder / "source")
    environment = {**os.environ, "SOURCE_DATE_EPOCH": str(int(BUILD_TIME.timestamp()))}
    # The wheel comes from the sdist.
    run(sys.executable, "-m", "build", "--outdir", str(folder / "dist"), cwd=source, env=environment)
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return Built(source, sdist, wheel, folder / "site")


slow = [pytest.mark.slow, pytest.mark.wheel, pytest.mark.timeout(600)]
IMPORT = "import dtrain; from dtrain.kernels import all_kernels; print(dtrain.__file__, len(list(all_kernels())))"
NATIVE = "from dtrain.collectives.transports.meeting import native_meeting; print(native_meeting())"


class TestBuilt:
    pytestmark = slow

    def test_sdist_and_wheel_hold_everything_once(self, built: Built) -> None:
        with tarfile.open(built.sdist) as archive:
            sources = [name.split("/", 1)[1] for name in archive.getnames() if "/" in name]
        assert "kernels/registry.py" in sources and "dtrain/kernels/registry.py" not in sources
        with zipfile.ZipFile(built.wheel) as archive:
            names = archive.namelist()
        assert [name for name, count in Counter(names).items() if count > 1] == []
        assert set(DATA) <= set(names)
        for module in MODULES:
            assert any(name.startswith(module) and name.endswith(".so") for name in names)
        tops = {name.split("/")[0] for name in names}
        assert all(top == "dtrain" or top.endswith(".dist-info") for top in tops), tops

    def test_the_wheel_alone_runs(self, built: Built, tmp_path: Path) -> None:
        # Beside this environment's libraries but before its editable install.
        printed = run(sys.executable, "-S", "-W", "error", "-c", IMPORT, cwd=tmp_path, env=only(built.site)).split()
        assert Path(printed[0]).is_relative_to(built.site)
        assert int(printed[1]) > 100
        printed = run(sys.executable, "-S", "-W", "error", "-c", NATIVE, cwd=tmp_path, env=only(built.site)).split()
        assert "dtrain.collectives._native.Meeting" in printed[1]

    def test_the_wheel_brings_the_licences_of_what_is_in_it(self, built: Built) -> None:
        (information,) = built.site.glob("*.dist-info")
        metadata = (information / "METADATA").read_text()
        assert "License-Expression: Apache-2.0 AND BSD-3-Clause AND CC-BY-4.0" in metadata
        for name in LICENSES:
            assert f"License-File: {name}\n" in metadata
            assert (information / "licenses" / name).read_text() == (ROOT / name).read_text()

    def test_nothing_in_the_wheel_tells_when_or_where_it_was_built(self, built: Built) -> None:
        with zipfile.ZipFile(built.wheel) as archive:
            assert {entry.date_time for entry in archive.infolist()} == {BUILD_TIME.timetuple()[:6]}
        folders = ("/tmp/", "build-env", "/site-packages", sys.base_prefix, str(built.source.parent))
        for module in MODULES:
            (compiled,) = built.site.glob(f"{module}*.so")
            contents = compiled.read_bytes()
            told = [folder for folder in folders if folder.encode() in contents]
            assert not told and b"dtrain" in contents

    def test_in_a_checkouts_root_the_advice_names_the_installed_one(self, built: Built) -> None:
        printed = run(sys.executable, "-S", "-c", IMPORT, cwd=built.source, env=only(built.site))
        assert f"the source tree {built.source}, which hides the dtrain installed in {built.site}: run" in printed
        if sys.version_info >= (3, 11):
            printed = run(
                sys.executable, "-S", "-P", "-W", "error", "-c", IMPORT, cwd=built.source, env=only(built.site)
            )
            assert Path(printed.split()[0]).is_relative_to(built.site)

    def test_an_unpacked_sdist_imports(self, built: Built, tmp_path: Path) -> None:
        with tarfile.open(built.sdist) as archive:
            archive.extractall(tmp_path, filter="data")
        (unpacked,) = tmp_path.iterdir()
        code = f"import dtrain.models, dtrain.cli, dtrain.collectives.public.session; {IMPORT}"
        printed = run(sys.executable, "-S", "-c", code, cwd=unpacked, env=only(tmp_path / "nothing"))
        assert f"\n{unpacked}/dtrain/" in f"\n{printed}"
        assert "source tree" in printed and "pip install -e ." in printed


def only(first: Path) -> dict[str, str]:
    """An environment in which `first` comes before the libraries, and no editable install is looked at."""
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(first), *libraries])}


def test_extras_that_exclude_each_other_say_so() -> None:
    tomllib = pytest.importorskip("tomllib")
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = settings["project"]["optional-dependencies"]
    declared = {frozenset(entry["extra"] for entry in pair) for pair in settings["tool"]["uv"]["conflicts"]}
    assert {frozenset(("cuda12", "cuda13")), frozenset(("openmpi", "mpich"))} <= declared
    assert set().union(*declared) <= set(extras)


def test_a_plain_clone_runs_on_the_references_with_one_warning(tmp_path: Path) -> None:
    clone = tracked_copy(tmp_path / "clone")
    # In the installed environment the compiled module lies beside the installed package, which -S hides.
    code = (
        "import numpy as np, dtrain as dt, dtrain.functional as F\n"
        "x = dt.tensor(np.ones((2, 3, 8, 8), np.float32)); w = dt.tensor(np.ones((4, 3, 3, 3), np.float32))\n"
        "print(dt.__file__); print(F.conv2d(x, w).sum().item(), F.max_pool2d(x, 2).sum().item())\n"
    )
    libraries = only(clone)["PYTHONPATH"].split(os.pathsep)
    site = tmp_path / "libraries"
    site.mkdir()
    for library in libraries[1:]:
        for entry in Path(library).iterdir():
            if entry.name != "dtrain" and not (site / entry.name).exists():
                (site / entry.name).symlink_to(entry)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(clone), str(site)])}
    printed = run(sys.executable, "-S", "-c", code, cwd=tmp_path, env=environment)
    assert str(clone) in printed
    assert "7776.0 96.0" in printed
    assert printed.count("UserWarning") == 1
    assert "expected the compiled module _cpu" in printed
