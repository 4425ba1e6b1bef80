"""dtrain's own part of a bundle: the wheel for the target, or the sources with all that builds them there.

A wheel with compiled kernels runs on one version of Python. For another, the source distribution and the wheels of its
build system travel instead; the target then needs a C++17 compiler.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, metadata, requires
from importlib.util import find_spec
from pathlib import Path

from dtrain.base.errors import LaunchError, expected
from dtrain.base.version import VERSION
from dtrain.launcher.bundle.pip import download, pip
from dtrain.launcher.bundle.target import Target, normal_name

# Of the extra `dev`, what a machine that only runs the tests needs.
TEST_TOOLS = ("psutil", "pytest", "pytest-timeout")
# What pyproject.toml's build-system table asks for, and what scikit-build-core adds where a machine has none.
BUILD_TOOLS = ("scikit-build-core>=1.1", "pybind11>=3", "cmake>=3.20", "ninja>=1.5")


def extras() -> list[str]:
    """The extras of the dtrain that runs here. Raises LaunchError if it was not installed."""
    try:
        return list(metadata("dtrain").get_all("Provides-Extra") or [])
    except PackageNotFoundError:
        raise LaunchError(
            expected("dtrain bundle", "an installed dtrain", "a clone that is not installed", "run `make install`")
        ) from None


def expect_python(python: tuple[int, int]) -> None:
    """Raises LaunchError for a Python that is older than dtrain's package allows."""
    oldest = re.search(r">=\s*(\d+)\.(\d+)", " ".join(metadata("dtrain").get_all("Requires-Python") or []))
    if oldest is not None and python < (int(oldest[1]), int(oldest[2])):
        wanted = f"at least {oldest[1]}.{oldest[2]}, which dtrain needs"
        raise LaunchError(expected("--python", wanted, ".".join(map(str, python)), "name the target's newer Python"))


def requirements(target: Target) -> list[str]:
    """What dtrain with the target's extras needs, without what the machine has already."""
    wanted = []
    for line in requires("dtrain") or []:
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        extra = marker.partition("extra ==")[2].strip().strip("'\"")
        if extra and extra not in target.extras:
            continue
        if not target.has(name_of(requirement)):
            wanted.append(requirement)
    return wanted


def for_tests() -> list[str]:
    """What running the tests takes, of all that development takes."""
    return [line.partition(";")[0].strip() for line in requires("dtrain") or [] if name_of(line) in TEST_TOOLS]


def name_of(requirement: str) -> str:
    """The package's name in a requirement such as `ray[default]>=2.30`."""
    name = requirement
    for end in "[(<>=!~ ":
        name = name.partition(end)[0]
    return normal_name(name)


def source_tree() -> Path | None:
    """The clone that this dtrain runs from, or None for one that came as a wheel."""
    spec = find_spec("dtrain.launcher")
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).resolve().parents[1]
    return root if (root / "pyproject.toml").exists() and (root / "kernels").is_dir() else None


def add_own(folder: Path, target: Target, *, with_sources: bool) -> None:
    """Put dtrain itself into `folder`: a wheel, or the sources and their build system; the sources too if asked for."""
    root = source_tree()
    if root is None:
        _add_released(folder, target, with_sources=with_sources)
        return
    if with_sources or not target.takes_wheels_from_here:
        _build_sources(root, folder)
    if target.takes_wheels_from_here:
        pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(root), what="build dtrain's wheel")
        (wheel,) = folder.glob("dtrain-*.whl")
        _expect_glibc(wheel, target)
    else:
        download(folder, target, [tool for tool in BUILD_TOOLS if not target.has(name_of(tool))])


def needed_glibc(wheel: Path) -> int:
    """The newest glibc 2.x that a compiled module in the wheel asks for; 0 where none does."""
    with zipfile.ZipFile(wheel) as archive:
        modules = [archive.read(name) for name in archive.namelist() if name.endswith(".so")]
    return max((int(minor) for module in modules for minor in re.findall(rb"GLIBC_2\.(\d+)", module)), default=0)


def _expect_glibc(wheel: Path, target: Target) -> None:
    needed = needed_glibc(wheel)
    if needed > target.glibc:
        advice = "make the bundle on the oldest machine, or carry sources: --sources"
        raise LaunchError(
            expected("dtrain bundle", f"kernels for glibc 2.{target.glibc}", f"some that ask for 2.{needed}", advice)
        )


def _add_released(folder: Path, target: Target, *, with_sources: bool) -> None:
    download(folder, target, [f"dtrain=={VERSION}"], with_dependencies=False)
    if with_sources:
        raise LaunchError(
            expected(
                "dtrain bundle --gpu-check",
                "a clone of the sources, whose tests the check runs",
                "a dtrain installed from a wheel",
                "run it in a clone",
            )
        )


def _build_sources(root: Path, folder: Path) -> None:
    if find_spec("build") is None:
        raise LaunchError(
            expected("dtrain bundle", "the package build, for a source distribution", "none", "pip install build")
        )
    scratch = folder / "sources"
    done = subprocess.run(
        [sys.executable, "-m", "build", "--sdist", "--outdir", str(scratch), str(root)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LaunchError(expected("dtrain bundle", "a source distribution", done.stderr.strip()[-2000:]))
    for made in scratch.glob("*.tar.gz"):
        shutil.move(str(made), folder / made.name)
    scratch.rmdir()
