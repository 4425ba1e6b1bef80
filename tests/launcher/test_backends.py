"""The table of launchers and the choice of `auto`."""

from __future__ import annotations

from pathlib import Path

import pytest

import dtrain.launcher
from dtrain.base.errors import LaunchError
from dtrain.launcher.backends import BACKENDS, choose, make_backend
from dtrain.launcher.flags import FLAGS, parse_run
from dtrain.launcher.local_launcher import LocalBackend


def test_the_table_is_what_the_flag_offers():
    [flag] = [flag for flag in FLAGS if flag.name == "launcher"]
    assert flag.choices == ("auto", *BACKENDS)


def test_every_launcher_file_is_in_the_table():
    folder = Path(dtrain.launcher.__file__).parent
    files = {f"dtrain.launcher.{path.stem}" for path in folder.glob("*_launcher.py")}
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
