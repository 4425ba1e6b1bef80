"""What users get: sdist and wheel hold everything once, and a plain clone works without the compiled part."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Travels as data, so a packaging rule could lose it.
DATA = (
    "dtrain/py.typed",
    "dtrain/data/digits.npz",
    "dtrain/data/digits.ATTRIBUTION.txt",
    "dtrain/kernels/cuda/rank_order.cu",
    "dtrain/kernels/_cpu.pyi",
    "dtrain/launcher/cli.py",
    "dtrain/collectives/session.py",
)


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


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_sdist_and_wheel_hold_everything_once(tmp_path: Path) -> None:
    source = tracked_copy(tmp_path / "source")
    run(sys.executable, "-m", "build", "--outdir", str(tmp_path / "dist"), cwd=source)  # the wheel comes from the sdist
    (sdist,) = (tmp_path / "dist").glob("*.tar.gz")
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with tarfile.open(sdist) as archive:
        sources = [name.split("/", 1)[1] for name in archive.getnames() if "/" in name]
    assert "kernels/registry.py" in sources and "dtrain/kernels/registry.py" not in sources
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert set(DATA) <= set(names)
    assert any(name.startswith("dtrain/kernels/_cpu.") and name.endswith(".so") for name in names)
    tops = {name.split("/")[0] for name in names}
    assert all(top == "dtrain" or top.endswith(".dist-info") for top in tops), tops

    # The wheel alone, beside this environment's libraries but before its editable install.
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = (
        "import dtrain as dt; from dtrain.kernels import all_kernels; print(dt.__file__, sum(1 for _ in all_kernels()))"
    )
    printed = run(sys.executable, "-S", "-W", "error", "-c", code, cwd=tmp_path, env=only(site)).split()
    assert Path(printed[0]).is_relative_to(site)
    assert int(printed[1]) > 100


def only(first: Path) -> dict[str, str]:
    """An environment in which `first` comes before the libraries, and no editable install is looked at."""
    libraries = [path for path in sys.path if path.endswith("site-packages")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(first), *libraries])}


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
