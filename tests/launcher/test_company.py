"""Who has come, who has left early, and whether anybody talked to anybody; who may listen on which address."""

from __future__ import annotations

import time
from types import SimpleNamespace

import psutil
import pytest

from dtrain.base.errors import LaunchError
from dtrain.control.messages import Exited, Joined, Joining, Summary
from dtrain.launcher.job.roster import Roster
from dtrain.launcher.plan.mpi_installation import home_variable, identify


def peer(rank, role="rank"):
    return SimpleNamespace(rank=rank, role=role, host="h", address="127.0.0.1")


def ended(code, asked=False):
    return Exited(code=code, signal=0, asked=asked, max_rss=0, oom_kills=0, faults="", time=1.0)


@pytest.mark.parametrize(
    ("events", "leavers"),
    [
        ([(0, Joining()), (1, ended(0))], [1]),
        ([(1, ended(0)), (2, Joining())], [1]),
        ([(1, ended(0)), (2, ended(0)), (0, Joining())], [1, 2]),
        ([(1, ended(0)), (2, ended(0))], []),
        ([(0, Joining()), (1, ended(3))], []),
        ([(0, Joining()), (1, ended(0, asked=True))], []),
        ([(rank, kind()) for kind in (Joining, Joined) for rank in range(3)] + [(1, ended(0))], []),
        ([(0, Joining()), (1, Joining())], []),
        ([(1, ended(0)), (0, Joining()), (0, ended(1))], []),
    ],
)
def test_early_leavers(events, leavers):
    roster = Roster(3)
    for rank, message in events:
        roster.note(peer(rank), message)
    assert [end.rank for end in roster.early_leavers] == leavers


@pytest.mark.parametrize(
    ("told", "nobody"),
    [([False, False], True), ([False, True], False), ([False], False), ([True, True], False)],
)
def test_whether_nobody_exchanged_anything(told, nobody):
    roster = Roster(2)
    for rank, has_exchanged in enumerate(told):
        roster.note(peer(rank), Summary(has_exchanged))
    assert roster.nobody_exchanged is nobody
    alone = Roster(1)
    alone.note(peer(0), Summary(False))
    assert not alone.nobody_exchanged


@pytest.mark.distributed
def test_a_rank_that_leaves_before_init(run):
    script = run.script(
        "import os, sys\nif os.environ['RANK'] == '1': sys.exit(0)\n"
        "from dtrain import collectives as dist\ndist.init()\n"
    )
    job = run("-np", "3", "--quiet", "--log-dir", "logs", script)
    assert job.code == 120
    assert "dtrain: rank 1 of 3 ended with exit code 0 before dist.init(), in which rank" in job.err
    assert job.seconds < 10
    assert '"ranks": [\n    1\n  ]' in (run.folder / "logs" / "failure.json").read_text()


@pytest.mark.distributed
def test_a_rank_that_leaves_before_init_while_mpi_keeps_the_interpreter(run):
    """MPI starts under Python's lock, so no other thread of the rank can say any more that it waits there."""
    script = run.script(
        "import ctypes, os, sys\nif os.environ['RANK'] == '1': sys.exit(0)\n"
        "from dtrain.collectives.transports import mpi_start\nfrom dtrain.collectives.world import context\n"
        "mpi_start.start_mpi = lambda info: ctypes.PyDLL(None).sleep(20)\n"  # PyDLL does not give the lock away
        "sys.setswitchinterval(5)\n"  # nor does the interpreter before that
        "context.init()\n"
    )
    job = run("-np", "2", "--quiet", script)
    assert job.code == 120, job.err
    assert job.seconds < 10


def test_ranks_that_train_alone_are_told_so(run):
    note = "dtrain: note: no collective ran in this job: its 2 ranks exchanged nothing"
    alone = run.script("import dtrain as dt\ndt.tensor([1.0])\n")
    assert note in run("--launcher", "local", "-np", "2", "--quiet", alone).err
    assert run("--launcher", "local", "-np", "2", "--quiet", run.script("print('no dtrain here')\n")).err == ""


@pytest.mark.distributed
def test_only_who_exchanged_nothing_is_told_so(run):
    script = run.script(
        "import numpy as np\nfrom dtrain import collectives as dist\n"
        "world = dist.init()\nworld.all_reduce(np.ones(3))\ndist.finalize()\n"
    )
    assert "no collective ran" not in run("-np", "2", "--quiet", script).err


@pytest.mark.distributed
def test_on_one_host_launcher_and_ranks_listen_on_the_loopback_interface_only(run):
    """What MPI's own daemon does is not in our hands: see the limits in docs/design/0005-launcher.md."""
    script = run.script(
        "import time\nimport numpy as np\nfrom dtrain import collectives as dist\n"
        "print(dist.init().all_reduce(np.ones(3)), flush=True)\ntime.sleep(30)\n"
    )
    process = run.start("-np", "2", "--quiet", script)
    for _ in range(2):
        assert "[2. 2. 2.]" in process.stdout.readline()
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    ours = [one for one in family if "prte" not in one.name()]
    assert len(ours) == 5, "launcher, two supervisors, two ranks"
    sockets = [socket for one in ours for socket in one.net_connections("inet") if not socket.raddr]
    assert sockets, "at least the control server listens"
    assert {socket.laddr.ip for socket in sockets} == {"127.0.0.1"}
    process.terminate()
    assert process.wait(timeout=20) == 143


def test_home_for_mpirun_where_there_is_none():
    assert home_variable({"HOME": "/home/u"}) == {}
    assert home_variable({})["HOME"].startswith("/")
    assert home_variable({"HOME": ""})["HOME"].startswith("/")


@pytest.mark.distributed
def test_a_job_without_home_or_any_variable(run):
    run.env.clear()
    begin = time.monotonic()
    job = run("-np", "2", "--quiet", run.script("from mpi4py import MPI\nprint(MPI.COMM_WORLD.allreduce(1))\n"))
    assert (job.code, sorted(job.out.splitlines())) == (0, ["[0] 2", "[1] 2"]), job.err
    assert time.monotonic() - begin < 30


def test_an_mpirun_that_fails_is_quoted(tmp_path):
    fake = tmp_path / "mpirun"
    fake.write_text("#!/bin/sh\necho 'no home directory' >&2\nexit 3\n")
    fake.chmod(0o755)
    with pytest.raises(LaunchError, match=r"expected .*mpirun --version to answer, got exit code 3 and 'no home dir"):
        identify(str(fake))
