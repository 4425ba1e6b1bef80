"""When is a job over, and for which reason? On a clock of the test's own."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from dtrain.control.messages import Exited, Joined, Joining, Summary
from dtrain.control.verdict import Failure
from dtrain.launcher.backends.mpirun import MpirunBackend
from dtrain.launcher.backends.srun import SrunBackend
from dtrain.launcher.job.judge import BACKEND_PATIENCE, BACKENDS_WORD, LAST_REPORTS, SETTLE, Judge
from dtrain.launcher.job.roster import Roster

EXIT = Exited(code=0, signal=0, asked=False, max_rss=1, oom_kills=0, faults="", time=5.0)
SUMMARY = Summary(True)


class Backend:
    code: int | None = None

    def poll(self):
        return self.code

    said = "one of them exited improperly"

    def messages(self):
        return self.said


@pytest.fixture
def job():
    roster, backend = Roster(2), Backend()
    peers = [SimpleNamespace(rank=rank, role="supervisor", host="h") for rank in range(2)]
    roster.supervisors = dict(enumerate(peers))
    plan = SimpleNamespace(backend="mpirun", size=2, all_local=True)
    judge = Judge(plan, SimpleNamespace(start_timeout=math.inf, allocation=None), roster, backend, MpirunBackend)
    return SimpleNamespace(
        plan=plan,
        roster=roster,
        backend=backend,
        peers=peers,
        judge=judge,
        look=lambda now, since=0.0: judge.look(now, since),
    )


def test_a_good_end_waits_for_the_backend(job):
    for peer in job.peers:
        job.roster.note(peer, SUMMARY)
        job.roster.note(peer, EXIT)
    assert job.look(1.0) is None
    assert job.look(1.0 + BACKEND_PATIENCE).verdict is None
    job.backend.code = 0
    assert job.look(1.1).verdict is None


def test_ranks_may_tell_how_they_ended_after_their_backend_is_gone(job):
    """mpirun ends the job for rank 0, which left without a word, before rank 1 has said that it was stopped."""
    job.backend.code = 1
    job.roster.note(job.peers[0], EXIT)
    assert job.look(1.0) is None
    assert job.look(1.0 + LAST_REPORTS / 2) is None
    job.roster.note(job.peers[1], replace(EXIT, code=143, asked=True))
    verdict = job.look(1.0 + LAST_REPORTS / 2 + 0.01).verdict
    assert verdict.ranks == (0,)
    assert "rank 0 of 2 left with exit code 0" in verdict.text


@pytest.mark.parametrize("kind", ["lost", "followed"])
def test_who_left_without_a_word_is_named_before_those_that_went_with_it(job, kind):
    job.roster.note(job.peers[0], EXIT)
    if kind == "lost":
        job.roster.note_lost(job.peers[1])
    else:
        job.roster.note(job.peers[1], Failure(kind="PeerLostError", text=""))
        job.roster.note(job.peers[1], replace(EXIT, code=1, time=6.0))
    assert job.look(2.0).verdict.ranks == (0,)


def test_a_failure_of_its_own_is_not_laid_on_who_left(job):
    job.roster.note(job.peers[0], EXIT)
    job.roster.note(job.peers[1], replace(EXIT, code=3, time=6.0))
    assert job.look(2.0).verdict.ranks == (1,)


def test_reports_on_their_way_are_waited_for(job):
    job.roster.note(job.peers[1], replace(EXIT, code=3))
    assert job.look(1.0) is None
    assert job.look(1.0 + SETTLE).verdict.exit_code == 3


def test_a_backend_that_is_gone_with_all_of_its_ranks(job):
    job.backend.code = 213
    job.roster.supervisors.clear()
    assert job.look(1.0) is None
    verdict = job.look(1.0 + 2 * SETTLE).verdict
    assert verdict.exit_code == 213
    assert "dtrain: mpirun ended the job while ranks 0, 1 of 2 ran on " in verdict.text
    assert "  mpirun said:\n    one of them exited improperly" in verdict.text


LOST_FAILURE = Failure(kind="PeerLostError", text="rank 1 is gone", traceback="Traceback")
BAD_DATA = Failure(kind="ValueError", text="bad data", traceback="Traceback")


def fail(job, rank, report=None, **end):
    job.roster.ends[rank].host = "ab"[rank]
    if report is not None:
        job.roster.note(job.peers[rank], report)
    job.roster.note(job.peers[rank], replace(EXIT, **end))


@pytest.mark.parametrize(
    "failures",
    [
        [(1, None, {"code": 14})],  # MPI ended it
        [(0, LOST_FAILURE, {"code": 1})],  # the other end of the line
        [(0, LOST_FAILURE, {"code": 1}), (1, None, {"code": 14})],
    ],
)
def test_a_lost_daemon_is_behind_bare_exit_codes(job, failures):
    """Ranks elsewhere end before mpirun says that it has lost what held them."""
    job.plan.all_local = False
    job.roster.ends[1].host = "b"
    for rank, report, end in failures:
        fail(job, rank, report, **end)
    assert job.look(1.0) is None
    assert job.look(1.0 + 2 * SETTLE) is None
    job.backend.code, job.backend.said = 0, "Remote daemon: [prterun-a-1@0,1] on node b\n  Remote host: b\n"
    verdict = job.look(1.0 + 3 * SETTLE).verdict
    assert verdict.ranks == (1,)
    assert verdict.exit_code != 0
    assert "rank 1 of 2 lost: mpirun's daemon on b is gone, or the way to it" in verdict.text


def test_a_bare_exit_code_is_its_own_reason_where_nothing_else_is_said(job):
    job.plan.all_local = False
    fail(job, 1, code=3)
    assert job.look(1.0) is None
    assert job.look(1.0 + BACKENDS_WORD / 2) is None
    assert job.look(1.0 + BACKENDS_WORD).verdict.exit_code == 3


@pytest.mark.parametrize(("report", "end"), [(BAD_DATA, {"code": 1}), (None, {"signal": 11, "faults": "x"})])
def test_what_explains_itself_waits_for_nobody_and_is_not_laid_on_a_daemon(job, report, end):
    job.plan.all_local = False
    fail(job, 1, report, **end)
    job.backend.said = "Remote daemon: [prterun-a-1@0,1] on node b\n"
    assert job.look(1.0) is None
    verdict = job.look(1.0 + SETTLE).verdict
    assert verdict.text.splitlines()[1].startswith("dtrain: rank 1 of 2 failed: ")


@pytest.mark.parametrize("has_exchanged", [True, False, None])
def test_ranks_that_exchanged_nothing_are_noted(job, has_exchanged):
    job.backend.code = 0
    for peer in job.peers:
        job.roster.note(peer, Summary(has_exchanged))
        job.roster.note(peer, EXIT)
    assert ("no collective ran" in job.look(1.0).note) is (has_exchanged is False)


@pytest.mark.parametrize("have_joined", [True, False])
def test_the_note_asks_only_for_what_is_missing(job, have_joined):
    job.backend.code = 0
    for peer in job.peers:
        if have_joined:
            job.roster.note(peer, Joining())
            job.roster.note(peer, Joined())
        job.roster.note(peer, Summary(False))
        job.roster.note(peer, EXIT)
    note = job.look(1.0).note
    assert "wrap the model in dist.data_parallel()" in note and ("dist.init()" in note) is not have_joined


def test_who_left_after_another_failed_is_not_the_cause(job):
    fail(job, 1, LOST_FAILURE, code=1, time=4.0)
    fail(job, 0, time=5.0)
    assert job.look(2.0).verdict.ranks == (1,)


@pytest.mark.parametrize("all_local", [True, False])
def test_hosts_are_named_where_others_than_this_one_did_not_come_up(job, all_local):
    job.plan.all_local, job.backend.code = all_local, 1
    job.plan.ranks = [SimpleNamespace(rank=rank, host=host) for rank, host in enumerate("ab")]
    job.roster.supervisors.clear()
    assert job.look(1.0, math.inf) is None
    text = job.look(1.0 + 2 * SETTLE, math.inf).verdict.text
    assert "mpirun left with code 1 before ranks 0, 1" in text
    assert (" on a, b came up" in text) is ("every host needs" in text) is not all_local


KILLED_BY_SLURM = "mpi/pmix_v4: _errhandler: b [1]: Error handler invoked: status = -61, source = [slurm.pmix.7.0:1]"
ENDS_OF_ONE = {
    "raised": ([BAD_DATA, replace(EXIT, code=1)], 1),
    "raised, and was killed before it was gone": ([replace(BAD_DATA, exit_code=1)], 1),
    "left with a code": ([Failure(kind="", text="", exit_code=7), replace(EXIT, code=7)], 7),
    "left with a code, and was killed before it was gone": ([Failure(kind="", text="", exit_code=7)], 7),
    "left at once": ([replace(EXIT, code=5)], 5),
    "crashed": ([replace(EXIT, signal=11)], 139),
    "was killed": ([replace(EXIT, signal=9)], 137),
    "was killed, and its supervisor too": ([Failure(kind="", text="", exit_code=137, signal=9)], 137),
    "crashed, and its supervisor was killed": ([Failure(kind="", text="", exit_code=139, signal=11)], 139),
    "was killed with all others": ([], 137),
}


@pytest.mark.parametrize("other", ["lost", "seen to be killed", "ended by MPI"])
@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("end", ENDS_OF_ONE)
def test_slurm_kills_all_ranks_for_one_and_is_not_the_cause(job, end, is_first, other):
    """Whichever end is reported first, of the rank that failed or of the one that was killed for it."""
    job.judge._backend, job.plan.all_local = SrunBackend, False
    messages, code = ENDS_OF_ONE[end]

    def end_of_the_cause():
        for message in messages:
            job.roster.note(job.peers[1], message)
        job.roster.note_lost(job.peers[1])

    def end_of_the_other():
        if other == "seen to be killed":
            job.roster.note(job.peers[0], replace(EXIT, signal=9))
        elif other == "ended by MPI":
            job.roster.note(job.peers[0], replace(EXIT, code=14))
        job.roster.note_lost(job.peers[0])

    first, second = (end_of_the_cause, end_of_the_other) if is_first else (end_of_the_other, end_of_the_cause)
    if messages and isinstance(messages[0], Failure):  # a rank stays until this is heard
        job.roster.note(job.peers[1], messages[0])
    first()
    assert job.look(1.0) is None
    early = job.look(1.0 + SETTLE)
    assert early is None or early.verdict.ranks == (1,)
    second()
    job.backend.code, job.backend.said = 137, KILLED_BY_SLURM
    verdict = job.look(1.0 + BACKENDS_WORD / 2).verdict
    assert (verdict.ranks, verdict.exit_code) == ((1,), code)


def test_who_left_with_the_code_of_mpi_and_nobody_else_is_named(job):
    job.judge._backend, job.plan.all_local = SrunBackend, False
    job.roster.note(job.peers[1], replace(EXIT, code=14))
    job.roster.note(job.peers[0], Failure(kind="PeerLostError", text="", exit_code=1))
    job.roster.note(job.peers[0], replace(EXIT, code=1))
    job.look(1.0)
    verdict = job.look(1.0 + BACKENDS_WORD).verdict
    assert (verdict.ranks, verdict.exit_code) == ((1,), 14)


def test_slurms_word_is_waited_for_and_not_for_ever(job):
    job.judge._backend, job.plan.all_local = SrunBackend, False
    for peer in job.peers:
        job.roster.note_lost(peer)
    assert job.look(1.0) is None
    assert job.look(1.0 + SETTLE) is None
    assert job.look(1.0 + BACKENDS_WORD).verdict.ranks == (0,)


@pytest.mark.parametrize("end", [{"code": 143, "asked": True}, {"code": 14}], ids=["by Slurm", "by MPI"])
def test_a_node_that_slurm_has_lost_is_named(job, end):
    """The ranks of the other nodes are ended by SIGTERM; those of the lost one are heard of no more, or still run."""
    job.judge._backend, job.plan.all_local, job.plan.backend = SrunBackend, False, "srun"
    job.roster.ends[0].host, job.roster.ends[1].host = "a", "b"
    job.roster.note(job.peers[0], replace(EXIT, **end))
    job.backend.code, job.backend.said = 143, "srun: error: Node failure on b\nsrun: error: a: task 0: Terminated\n"
    assert job.look(1.0) is None
    verdict = job.look(1.0 + LAST_REPORTS).verdict
    assert (verdict.ranks, verdict.exit_code) == ((1,), 143)
    assert "dtrain: rank 1 of 2 lost: srun's daemon on b is gone, or the way to it" in verdict.text
    assert "    srun: error: Node failure on b\n" in verdict.text
