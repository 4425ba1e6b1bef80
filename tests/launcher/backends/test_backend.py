"""The table of launchers and the choice of `auto`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import dtrain.launcher
from dtrain.base.errors import LaunchError
from dtrain.launcher.backends.backend import BACKENDS, choose, make_backend
from dtrain.launcher.backends.local import LocalBackend
from dtrain.launcher.command.flags import FLAGS, parse_run


def test_the_table_is_what_the_flag_offers():
    [flag] = [flag for flag in FLAGS if flag.name == "launcher"]
    assert flag.choices == ("auto", *BACKENDS)


def test_every_launcher_file_is_in_the_table():
    folder = Path(dtrain.launcher.__file__).parent / "backends"
    files = {
        ".".join(("dtrain.launcher.backends", *path.relative_to(folder).with_suffix("").parts))
        for path in folder.rglob("*.py")
        if re.search(r"^class \w+Backend:", path.read_text(), re.M)
    }
    assert files == {module for module, _ in BACKENDS.values()}


@pytest.mark.parametrize(
    ("arguments", "name", "reason"),
    [
        ([], "local", "one rank here needs no MPI"),
        (["-np", "1", "-H", "localhost"], "local", "one rank here needs no MPI"),
        (["-np", "2"], "mpirun", "2 ranks talk through MPI"),
        (["-H", "a:1"], "mpirun", "1 ranks talk through MPI"),
        (["-np", "2", "--launcher", "local"], "local", "asked for"),
        (["-np", "2", "--launcher", "ray"], "ray", "asked for"),
    ],
)
def test_choice(arguments, name, reason):
    assert choose(parse_run([*arguments, "train.py"], {})) == (name, reason)


def test_make():
    spec = parse_run(["train.py"], {})
    assert isinstance(make_backend("local", spec), LocalBackend)
    with pytest.raises(LaunchError, match="--launcher: expected one of auto, local, mpirun, ray, got 'slurm'"):
        make_backend("slurm", spec)
