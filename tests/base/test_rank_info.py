"""RankInfo under every launcher's environment, and what it says to contradictions."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dtrain.base import rank_info
from dtrain.base.errors import LaunchError, ShapeError
from dtrain.base.rank_info import ENVIRONMENTS, RankInfo, rank_tag

# Rank 3 of 4 on two nodes of two, as each launcher tells it.
SAMPLES: dict[str, dict[str, str]] = {
    "dtrain": {
        "DTRAIN_RANK": "3",
        "DTRAIN_WORLD_SIZE": "4",
        "DTRAIN_LOCAL_RANK": "1",
        "DTRAIN_LOCAL_WORLD_SIZE": "2",
        "DTRAIN_NODE_RANK": "1",
    },
    "openmpi": {
        "OMPI_COMM_WORLD_RANK": "3",
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_COMM_WORLD_LOCAL_RANK": "1",
        "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
        "OMPI_COMM_WORLD_NODE_RANK": "7",
        "PMIX_RANK": "3",
    },
    "pmix": {
        "PMIX_RANK": "3",
        "SLURM_JOB_ID": "9",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": "3",
        "SLURM_NTASKS": "4",
        "SLURM_LOCALID": "1",
        "SLURM_TASKS_PER_NODE": "2(x2)",
        "SLURM_NODEID": "1",
    },
    "pmi": {"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "2"},
    "mvapich": {
        "MV2_COMM_WORLD_RANK": "3",
        "MV2_COMM_WORLD_SIZE": "4",
        "MV2_COMM_WORLD_LOCAL_RANK": "1",
        "MV2_COMM_WORLD_LOCAL_SIZE": "2",
    },
    "slurm": {
        "SLURM_JOB_ID": "9",
        "SLURM_STEP_ID": "0",
        "SLURM_PROCID": "3",
        "SLURM_NTASKS": "4",
        "SLURM_LOCALID": "1",
        "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
        "SLURM_NODEID": "1",
    },
    "horovod": {
        "HOROVOD_RANK": "3",
        "HOROVOD_SIZE": "4",
        "HOROVOD_LOCAL_RANK": "1",
        "HOROVOD_LOCAL_SIZE": "2",
        "HOROVOD_CROSS_RANK": "1",
    },
    "torchrun": {
        "RANK": "3",
        "WORLD_SIZE": "4",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "1",
    },
}


def test_every_environment_has_a_sample():
    assert list(SAMPLES) == [row.source for row in ENVIRONMENTS]


@pytest.mark.parametrize("source", SAMPLES)
def test_each_environment(source):
    info = RankInfo.from_environment(SAMPLES[source])
    assert (info.rank, info.size, info.local_rank, info.local_size, info.node_rank) == (3, 4, 1, 2, 1)
    assert info.source == source
    assert info.host
    assert rank_tag(SAMPLES[source]) == "[rank 3/4] "


def test_alone():
    info = RankInfo.from_environment({})
    assert (info.rank, info.size, info.local_rank, info.local_size, info.node_rank) == (0, 1, 0, 1, 0)
    assert info.source == "single"
    assert rank_tag({}) == ""
    assert rank_tag({"RANK": "0", "WORLD_SIZE": "1"}) == ""


def test_order_of_the_table_decides():
    env = SAMPLES["torchrun"] | {"HOROVOD_RANK": "0", "HOROVOD_SIZE": "2"}
    assert RankInfo.from_environment(env).source == "horovod"
    assert RankInfo.from_environment(env).size == 2


def test_pmi2_under_slurm_takes_its_place_on_the_node_from_slurm():
    env = {"PMI_RANK": "3", "PMI_SIZE": "4"} | SAMPLES["slurm"]
    info = RankInfo.from_environment(env)
    assert (info.source, info.local_rank, info.local_size, info.node_rank) == ("pmi", 1, 2, 1)


def test_a_stale_row_of_another_process_fills_nothing_in():
    env = {"PMI_RANK": "1", "PMI_SIZE": "2"} | SAMPLES["torchrun"]
    info = RankInfo.from_environment(env)
    assert (info.rank, info.size, info.local_rank, info.local_size) == (1, 2, 1, 2)


def test_uneven_slurm_nodes():
    env = SAMPLES["slurm"] | {"SLURM_STEP_TASKS_PER_NODE": "3,1", "SLURM_LOCALID": "0"}
    info = RankInfo.from_environment(env)
    assert (info.local_rank, info.local_size, info.node_rank) == (0, 1, 1)


def test_a_slurm_batch_script_is_alone():
    env = {"SLURM_JOB_ID": "9", "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}
    assert RankInfo.from_environment(env).source == "single"


@pytest.mark.parametrize(
    ("env", "text"),
    [
        ({"RANK": "1"}, "expected a world size beside RANK=1, got none; set WORLD_SIZE"),
        ({"PMIX_RANK": "1"}, "expected a world size beside PMIX_RANK=1"),
        ({"RANK": "4", "WORLD_SIZE": "4"}, "expected 0 <= RANK < WORLD_SIZE, got 4 and 4"),
        ({"RANK": "-1", "WORLD_SIZE": "4"}, "got -1 and 4"),
        ({"RANK": "two", "WORLD_SIZE": "4"}, "expected RANK to be a whole number, got 'two'"),
        (
            {"RANK": "0", "WORLD_SIZE": "4", "LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "2"},
            "expected 0 <= local rank of torchrun < local size, got 2 and 2",
        ),
        (
            {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "2", "LOCAL_WORLD_SIZE": "3"},
            "expected at most 2 local ranks in a world of 2, got 3",
        ),
        (SAMPLES["slurm"] | {"SLURM_STEP_TASKS_PER_NODE": "two"}, "to look like 2(x3),1, got 'two'"),
        (
            SAMPLES["dtrain"] | {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "1"},
            "expected openmpi to agree with DTRAIN_RANK=3, DTRAIN_WORLD_SIZE=4, got OMPI_COMM_WORLD_RANK=0",
        ),
    ],
)
def test_contradictions(env, text):
    with pytest.raises(LaunchError) as caught:
        RankInfo.from_environment(env)
    assert text in str(caught.value)
    assert rank_tag(env) in ("", "[rank 0/4] ", "[rank 0/2] ")


def test_errors_carry_the_rank(monkeypatch):
    for row in ENVIRONMENTS:
        for name in row.names:
            monkeypatch.delenv(name, raising=False)
    assert str(ShapeError("add: no")) == "add: no"
    for name, value in SAMPLES["openmpi"].items():
        monkeypatch.setenv(name, value)
    assert str(ShapeError("add: no")) == "[rank 3/4] add: no"


def test_text():
    info = RankInfo.from_environment(SAMPLES["torchrun"] | {"DTRAIN_HOST": "node-b"})
    assert str(info) == "rank 3/4 (local 1/2) on node-b"


def test_import_is_light():
    """Run by path, as the launcher's supervisor has it before the package is loaded."""
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1])\n"
        "print([name for name in ('dtrain', 'numpy', 'socket', 'json') if name in sys.modules])"
    )
    command = [sys.executable, "-I", "-S", "-c", code, rank_info.__file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
