"""For whom a bundle is: names, versions, wheels' tags; what pip is asked for."""

from __future__ import annotations

import sys
from itertools import pairwise

import pytest

from dtrain.base.errors import LaunchError
from dtrain.launcher.bundle import own_packages
from dtrain.launcher.bundle.target import Target, normal_name, parse_names, parse_python

HERE = sys.version_info[:2]


def target(**changes: object) -> Target:
    facts: dict[str, object] = {"python": (3, 12), "machine": "x86_64", "extras": ("openmpi",), "glibc": 28}
    return Target(**{**facts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "version"), [("3.11", (3, 11)), (" 3.9 ", (3, 9)), ("3.100", (3, 100))])
def test_versions(text: str, version: tuple[int, int]) -> None:
    assert parse_python(text) == version


@pytest.mark.parametrize("text", ["", "3", "3.11.4", "py311", "-3.1", "3.x"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(LaunchError, match=r"--python: expected a version such as 3\.11, got"):
        parse_python(text)


def test_names_between_commas_come_once_and_are_known() -> None:
    assert parse_names("--extras", "b, a,,b", ("a", "b")) == ("b", "a")
    with pytest.raises(LaunchError, match="--extras: expected names among a, b, got c"):
        parse_names("--extras", "a,c", ("a", "b"))


def test_patterns_compare_as_indexes_do() -> None:
    machine = target(present=("cupy-*", "nvidia-*", "Numpy", "ruamel.yaml"))
    assert normal_name("Ruamel__YAML.x") == "ruamel-yaml-x"
    present = ["cupy-cuda13x", "cupy_cuda12x", "nvidia_nccl_cu13", "NumPy", "ruamel_yaml"]
    assert all(map(machine.has, present))
    assert not any(map(machine.has, ["numpy-stl", "ml_dtypes", "cupy"]))


def test_wheels_are_taken_for_no_newer_glibc_and_no_other_processor() -> None:
    flags = target(glibc=17, machine="aarch64").pip_flags()
    platforms = [value for flag, value in pairwise(flags) if flag == "--platform"]
    assert "manylinux_2_17_aarch64" in platforms and "manylinux2014_aarch64" in platforms
    assert not any(newer in name for name in platforms for newer in ("2_24", "2_28", "x86_64"))
    assert "manylinux1_x86_64" in target().pip_flags()


def test_compiled_wheels_travel_only_to_the_same_python() -> None:
    import platform

    here = {"python": HERE, "machine": platform.machine()}
    assert target(**here).takes_wheels_from_here
    assert not target(**here, from_sources=True).takes_wheels_from_here
    assert not target(**{**here, "machine": "riscv64"}).takes_wheels_from_here
    assert not target(**{**here, "python": (HERE[0], HERE[1] + 1)}).takes_wheels_from_here


def test_requirements_are_those_of_the_extras_without_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "numpy>=1.26",
        "ml_dtypes>=0.4",
        'mpi4py>=4.0; extra == "openmpi"',
        "ray[default]>=2.30; extra == 'ray'",
        'cupy-cuda13x[ctk]>=14; extra == "cuda13"',
        'pytest>=8; extra == "dev"',
        'ruff>=0.9; extra == "dev"',
    ]
    monkeypatch.setattr(own_packages, "requires", lambda name: lines)
    wanted = own_packages.requirements
    assert wanted(target(extras=())) == ["numpy>=1.26", "ml_dtypes>=0.4"]
    assert wanted(target(extras=("openmpi", "ray")))[2:] == ["mpi4py>=4.0", "ray[default]>=2.30"]
    assert wanted(target(extras=("cuda13",), present=("cupy-*", "ml-dtypes"))) == ["numpy>=1.26"]
    assert own_packages.for_tests() == ["pytest>=8"]
