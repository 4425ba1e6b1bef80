"""Command lines of mpirun, compared with recorded text; real ranks are in test_job.py and test_job_words.py."""

from __future__ import annotations

import pytest

from dtrain.launcher.backends.mpirun import FAMILIES, MpirunBackend
from dtrain.launcher.command.flags import parse_run
from dtrain.launcher.plan.allocation import Allocation
from dtrain.launcher.plan.environment import rank_variables
from dtrain.launcher.plan.launch_plan import Machine
from dtrain.launcher.plan.mpi_installation import MpiInstallation

OPENMPI = MpiInstallation("mpirun", "openmpi", (5, 0, 11))
OPENMPI_4 = MpiInstallation("mpirun", "openmpi", (4, 1, 4))
HYDRA = MpiInstallation("mpirun", "hydra", (4, 2))
MACHINE = Machine(host="here", cores=(0, 1, 2, 3), num_cores=4, devices=(), python="python", is_root=False)
CONTROL = "DTRAIN_CONTROL_ADDRESS DTRAIN_JOB_ID DTRAIN_JOB_TOKEN"
OPENMPI_NAMES = " ".join(f"-x {name}" for name in ["A", *CONTROL.split(), "PATH"])
HYDRA_NAMES = "-genvlist " + ",".join(["A", *CONTROL.split(), "PATH"])


def command_of(arguments, installation, allocation=None, machine=MACHINE):
    spec = parse_run([*arguments, "train.py", "--epochs", "3"], {}).within(allocation)
    variables = rank_variables({"PATH": "/bin", "HOME": "/h"}, {"A": "1"})
    plan = MpirunBackend(spec, installation).plan(spec, machine, variables)
    [command] = plan.commands
    text = str(command)
    before, _, after = text.partition(" python ")
    assert after.endswith("rank_main.py train.py --epochs 3")
    return before, plan


@pytest.mark.parametrize(
    ("installation", "arguments", "text"),
    [
        (OPENMPI, ["-np", "2"], "mpirun -np 2 --bind-to none --map-by :OVERSUBSCRIBE --mca osc '^ucx'"),
        (OPENMPI_4, ["-np", "2"], "mpirun -np 2 --bind-to none --oversubscribe --mca osc '^ucx'"),
        (
            OPENMPI,
            ["-H", "a:2,b:4"],
            f"mpirun -np 6 --host a:2,b:4 --bind-to none --mca osc '^ucx' {OPENMPI_NAMES}",
        ),
        (
            OPENMPI,
            ["-H", "a:9,b:9", "-N", "1"],
            f"mpirun -np 2 --host a:1,b:1 --bind-to none --mca osc '^ucx' {OPENMPI_NAMES}",
        ),
        (
            OPENMPI,
            ["-np", "2", "--mpi-args=--bind-to core --map-by slot"],
            "mpirun -np 2 --mca osc '^ucx' --bind-to core --map-by slot",
        ),
        (HYDRA, ["-np", "2"], "mpirun -n 2"),
        (HYDRA, ["-np", "2", "--mpi-args=-print-all-exitcodes"], "mpirun -n 2 -print-all-exitcodes"),
        (HYDRA, ["-H", "a:2,b:4"], f"mpirun -n 6 -hosts a:2,b:4 {HYDRA_NAMES}"),
        (HYDRA, ["-np", "4", "-N", "2"], "mpirun -n 4 -ppn 2"),
    ],
)
def test_recorded_commands(installation, arguments, text):
    assert command_of(arguments, installation)[0] == text


def test_every_family_has_a_recorded_command():
    assert set(FAMILIES) == {OPENMPI.family, HYDRA.family}


def test_an_allocation_is_adopted():
    allocation = Allocation(scheduler="Slurm", job="77", nodes=2, size=8)
    text, plan = command_of(["-np", "4", "-N", "2"], OPENMPI, allocation)
    assert text == f"mpirun -np 4 --bind-to none --map-by ppr:2:node --mca osc '^ucx' {OPENMPI_NAMES}"
    assert plan.notes == ("took the Slurm allocation of job 77: 2 nodes, room for 8",)
    assert not plan.all_local
    assert command_of([], OPENMPI, allocation)[1].size == 8
    assert command_of(["-N", "3"], OPENMPI, allocation)[1].size == 6
    narrowed, plan = command_of(["-H", "a:2"], OPENMPI, allocation)
    assert "--host a:2" in narrowed and plan.notes == ()


def test_the_hosts_of_a_node_file_are_named():
    allocation = Allocation(scheduler="PBS", job="5.x", nodes=2, size=3, hosts=(("a", 1), ("b", 2)))
    text, plan = command_of([], OPENMPI, allocation)
    assert text == f"mpirun -np 3 --host a:1,b:2 --bind-to none --mca osc '^ucx' {OPENMPI_NAMES}"
    assert plan.notes == ("took the PBS allocation of job 5.x: 2 nodes, room for 3",)
    assert plan.remote_host == "a"


def test_rank_table_and_notes():
    _, plan = command_of(["-H", "localhost:3,b:2"], OPENMPI)
    assert [(rank.rank, rank.host, rank.node_rank, rank.local_rank) for rank in plan.ranks] == [
        (0, "here", 0, 0),
        (1, "here", 0, 1),
        (2, "here", 0, 2),
        (3, "b", 1, 0),
        (4, "b", 1, 1),
    ]
    assert (plan.all_local, plan.remote_host) == (False, "b")
    _, crowded = command_of(["-np", "5"], OPENMPI)
    assert crowded.notes == ("5 ranks share 4 cores of here: they will take turns",)
    assert crowded.all_local


def test_root_agrees_four_times():
    machine = Machine(host="here", cores=(0,), num_cores=1, devices=(), python="python", is_root=True)
    _, plan = command_of(["-np", "1"], OPENMPI, machine=machine)
    assert [name for name in plan.settings if "ROOT" in name] == [
        "OMPI_ALLOW_RUN_AS_ROOT",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
        "PRTE_ALLOW_RUN_AS_ROOT",
        "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM",
    ]
    _, plain = command_of(["-np", "1"], OPENMPI)
    assert not [name for name in plain.settings if "ROOT" in name]
