"""What a batch system gives: read from its variables, taken whole unless the user says otherwise, and said."""

from __future__ import annotations

import pytest

from dtrain.base.errors import LaunchError
from dtrain.base.flag_names import FLAGS
from dtrain.base.rank_info import ENVIRONMENTS
from dtrain.launcher.backends.table import choose, within_allocation
from dtrain.launcher.command.flags import parse_run
from dtrain.launcher.command.misplaced import STARTERS
from dtrain.launcher.plan.allocation import find_allocation, refuse_several_launchers

SLURM = {"SLURM_JOB_ID": "7", "SLURM_TASKS_PER_NODE": "2(x2)", "SLURM_NTASKS": "4"}
ONE_TASK = {"SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_TASKS_PER_NODE": "1"}
ON_NODE = {"SLURMD_NODENAME": "n1"}


def spec_in(env, *arguments):
    return within_allocation(parse_run([*arguments, "train.py"], {}), env)


@pytest.mark.parametrize(
    ("env", "nodes", "size"),
    [
        (SLURM, 2, 4),
        (SLURM | {"SLURM_TASKS_PER_NODE": "2,1", "SLURM_NTASKS": "3"}, 2, 3),
        ({"SLURM_JOB_ID": "7", "SLURM_TASKS_PER_NODE": "8(x3),4"}, 4, 28),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "5"}, 1, 5),
    ],
)
def test_slurm(env, nodes, size):
    allocation = find_allocation(env)
    assert (allocation.nodes, allocation.size, allocation.hosts) == (nodes, size, ())


def test_all_of_it_unless_said_otherwise():
    assert spec_in(SLURM).world_size == 4
    assert spec_in(SLURM, "-np", "3").world_size == 3
    assert spec_in(SLURM, "-N", "1").world_size == 2
    for arguments in (["-H", "a:3"], ["--launcher", "local"], ["--launcher", "ray"]):
        spec = spec_in(SLURM, *arguments)
        assert spec.allocation is None and spec.world_size == (3 if "-H" in arguments else 1)


def test_one_rank_runs_in_the_allocation_and_not_where_it_was_asked_for():
    alone = {"SLURM_JOB_ID": "7", "SLURM_TASKS_PER_NODE": "1", "SLURM_NTASKS": "1"}
    assert choose(spec_in(alone))[0] == "mpirun"
    assert choose(spec_in(SLURM, "-np", "1"))[0] == "mpirun"
    assert choose(spec_in(alone | ON_NODE))[0] == "local"
    assert choose(spec_in({}))[0] == "local"


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        (("PBS_JOBID", "PBS_NODEFILE"), "n2\nn1\nn2\n"),
        (("LSB_JOBID", "LSB_DJOB_HOSTFILE"), "n2\nn2\nn1\n"),
        (("JOB_ID", "PE_HOSTFILE"), "n2 2 all.q@n2 UNDEFINED\nn1 1 all.q@n1 UNDEFINED\n"),
    ],
)
def test_node_files(tmp_path, variables, text):
    path = tmp_path / "nodes"
    path.write_text(text)
    env = dict(zip(variables, ("9.server", str(path))))
    spec = spec_in(env)
    assert spec.ranks_per_host() == [("n2", 2), ("n1", 1)]
    assert spec_in(env, "-N", "1").ranks_per_host() == [("n2", 1), ("n1", 1)]
    path.write_text("n1\n")
    assert choose(spec_in(env))[0] == "mpirun"
    path.write_text("\n")
    with pytest.raises(LaunchError, match=r"expected hosts in .*, got none"):
        find_allocation(env)
    path.unlink()
    with pytest.raises(LaunchError, match=f"expected to read {variables[1]}, got .*; unset {variables[1]}"):
        find_allocation(env)


def test_unreadable_slurm():
    with pytest.raises(LaunchError, match="expected SLURM_TASKS_PER_NODE to look like"):
        find_allocation(SLURM | {"SLURM_TASKS_PER_NODE": "two"})


@pytest.mark.parametrize(
    ("env", "starter"),
    [
        (SLURM | {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"}, "srun"),
        ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_SIZE": "4"}, "mpirun"),
        ({"PMI_RANK": "2", "PMI_SIZE": "4"}, "mpirun"),
    ],
)
def test_several_launchers_are_refused(env, starter):
    with pytest.raises(LaunchError, match=f"started once, got 4 of it, started by {starter}; run it without {starter}"):
        refuse_several_launchers(env)
    refuse_several_launchers(env | {"DTRAIN_JOB_ID": "of a rank that starts a job"})


@pytest.mark.parametrize(
    "env",
    [
        {},
        SLURM,  # salloc
        SLURM | {"SLURM_PROCID": "0"},  # a batch script
        SLURM | {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0"} | ONE_TASK,  # srun --pty
        {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"},
        {"RANK": "1", "WORLD_SIZE": "2"},  # exported in somebody's profile
    ],
)
def test_one_launcher(env):
    refuse_several_launchers(env)


def test_the_command_refuses_and_says_what_it_took(run):
    script = run.script("print('ran')")
    run.env |= SLURM
    plan = run("--plan-only", script)
    assert plan.code == 0, plan.err
    assert "dtrain: 4 ranks by mpirun" in plan.out
    assert "note: took the Slurm allocation of job 7: 2 nodes, room for 4" in plan.out
    run.env |= {"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "4"}
    refused = run("-np", "4", script)
    assert (refused.code, refused.out) == (125, "")
    assert "expected to be started once, got 4 of it, started by srun" in refused.err


def test_who_starts_ranks_elsewhere_is_known_by_flags_too():
    """What `dtrain run` says of a command line and of its own environment comes of the same programs."""
    programs = {name.split()[0] for name in FLAGS}
    assert {row.starter for row in ENVIRONMENTS} - {""} <= programs <= set(STARTERS)
    assert all(row.starter for row in ENVIRONMENTS if row.knows_processes)
