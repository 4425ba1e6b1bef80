"""One job from start to last word: start the ranks, show their output, watch them, say why it ended, leave nothing.

Everything that happens comes as an event through one queue (messages of supervisors and ranks, losses, signals), and
one thread takes them in order, so no lock guards the state. `Muster` sees the ranks come up, `Judge` tells when the job
is over and why: the first rank that ends badly by itself is the culprit.
That thread never writes to a reader and never reads output: threads of their own do (`output_thread.py`), so that
neither a flood of lines nor a reader that pauses makes the job deaf.
"""

from __future__ import annotations

import contextlib
import math
import secrets
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import TextIO

from dtrain.base.errors import LaunchError
from dtrain.control.connection import ADDRESS_VARIABLE, TOKEN_VARIABLE
from dtrain.control.encoding import MessageError
from dtrain.control.exit_codes import BROKEN_PIPE, code_of_signal
from dtrain.control.messages import Credit, DumpStacks, InputTaken, Message, Output, Ready, Signal
from dtrain.control.peer import Peer
from dtrain.control.server import ControlServer
from dtrain.control.verdict import Verdict
from dtrain.events.kinds import JobEnded, JobStarted
from dtrain.events.stream import JOB_VARIABLE
from dtrain.launcher.backends.backend import Backend, Started
from dtrain.launcher.job.backend_verdicts import start_verdict
from dtrain.launcher.job.journal import Journal
from dtrain.launcher.job.judge import Judge
from dtrain.launcher.job.muster import RANK_GRACE, Muster, listening_addresses
from dtrain.launcher.job.output_thread import OutputThreads
from dtrain.launcher.job.roster import Roster
from dtrain.launcher.job.signals import ENDING, JobSignals, SignalWhileStarting
from dtrain.launcher.job.verdict import block, interrupt_verdict, timeout_verdict
from dtrain.launcher.plan.launch_plan import LaunchPlan
from dtrain.launcher.plan.machine import kill_processes_with
from dtrain.launcher.plan.spec import LaunchSpec

TURN = 0.05  # seconds between looks at clocks and processes
STACKS_WAIT = 1.0
SIGNAL_GRACE = 10.0
READER_PATIENCE = 10.0  # after a failure, for a reader that takes nothing
INTERRUPTED_READER_LIMIT = 0.7  # after a signal, for all that is still to be shown
BACKEND_GRACE = 1.0  # for mpirun to end by itself once its ranks are gone
MAX_WAITING = 4096  # events; above it the server stops reading

Event = Callable[[], None]  # what is to be done about it, on the thread of the loop


class Job:
    """Carries out a plan. `run()` returns the exit code of the contract and never raises for what ranks do."""

    def __init__(
        self, plan: LaunchPlan, spec: LaunchSpec, backend: Backend, stdout: TextIO | None, stderr: TextIO | None
    ) -> None:
        self._plan = plan
        self._spec = spec
        self._backend = backend
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._closing = False
        self._output = OutputThreads(
            stdout,
            stderr,
            size=plan.size,
            tag=plan.size > 1 if spec.tag_output is None else spec.tag_output,
            timestamp=spec.timestamp_output,
            log_dir=spec.log_dir,
            on_written=self._give_credit,
            on_error=lambda name, error: self._events.put(partial(self._note_unwritable, name, error)),
        )
        self._job_id = secrets.token_hex(8)
        self._journal = Journal(spec.events, self._job_id)
        self._roster = Roster(
            plan.size,
            log_of=lambda rank: self._output.log_path(rank, "stderr"),
            on_end=self._journal.rank_ended,
            twice_advice=backend.twice_advice,
        )
        self._signals = JobSignals()
        self._interrupts: list[int] = []
        self._verdict: Verdict | None = None
        self._muster = Muster(plan, spec, self._roster, self._output, self._journal, passes_input=backend.passes_input)
        self._server: ControlServer
        self._started: Started

    def run(self) -> int:
        """Start, watch, stop, show the rest; returns the exit code."""
        begin = time.monotonic()
        self._journal.note(
            JobStarted(
                size=self._plan.size,
                backend=self._plan.backend,
                reason=self._plan.reason,
                script=self._spec.script,
                arguments=self._spec.arguments,
            )
        )
        with self._signals.noted():
            code = self._show_the_rest(self._run())
        self._journal.note(JobEnded(exit_code=code, seconds=time.monotonic() - begin))
        return code

    def _run(self) -> int:
        try:
            self._server = self._make_server()
        except LaunchError as error:
            return self._conclude(start_verdict([f"  {error}"]))
        try:
            return self._run_ranks()
        finally:
            self._closing = True
            self._server.close()
            kill_processes_with(JOB_VARIABLE, self._job_id)

    def _run_ranks(self) -> int:
        problem = self._start()
        if problem is not None:
            return self._conclude(problem)
        try:
            verdict = self._watch()
            code = self._conclude(verdict) if verdict is not None else 0
            grace = SIGNAL_GRACE if verdict is not None and verdict.kind == "interrupt" else RANK_GRACE
            grace = grace if code != BROKEN_PIPE else 0.0  # who read our output is gone; so is the reason to go on
            self._end_everything(self._spec.grace if self._spec.grace is not None else grace)
            return code
        finally:
            self._started.kill()

    def _start(self) -> Verdict | None:
        """Start the ranks; what kept them from it, or nothing."""
        self._take_signals()  # those of before; from here on they are raised
        try:
            with self._signals.raised():
                if self._verdict is None:
                    self._started = self._backend.start(self._plan, self._control_variables())
        except LaunchError as error:
            return start_verdict([f"  {error}"])
        except SignalWhileStarting:
            self._take_signals()
        return self._verdict

    def _show_the_rest(self, code: int) -> int:
        """Wait for the readers of our output: as long as they like after a good end, a while after a bad one."""
        self._take_signals()
        if self._interrupts:
            patience = limit = INTERRUPTED_READER_LIMIT
        elif code == 0:
            patience = limit = math.inf
        else:
            patience, limit = READER_PATIENCE, math.inf
        self._output.drain(patience=patience, limit=limit, is_enough=lambda: bool(self._signals.ending))
        self._take_signals()
        return code or (code_of_signal(self._interrupts[0]) if self._interrupts else 0)

    def _make_server(self) -> ControlServer:
        host, advertised = listening_addresses(self._plan)
        return ControlServer(
            host,
            advertised_hosts=advertised,
            on_message=self._receive,
            on_lost=lambda peer: self._take(partial(self._roster.note_lost, peer)),
            on_verdict=lambda verdict: self._take(partial(self._note_mismatch, verdict)),
            on_garbled=lambda peer, error: self._take(partial(self._note_garbled, peer, error)),
        )

    def _control_variables(self) -> dict[str, str]:
        return {
            ADDRESS_VARIABLE: self._server.address,
            TOKEN_VARIABLE: self._server.token,
            JOB_VARIABLE: self._job_id,
        }

    def _receive(self, peer: Peer, message: Message) -> None:
        """On the server's thread: output goes its own way, all else becomes an event."""
        if not isinstance(message, Output):
            self._take(partial(self._hear, peer, message))
        elif 0 <= peer.rank < self._plan.size:
            self._output.feed(peer.rank, message.stream, message.data)

    def _give_credit(self, rank: int, nbytes: int) -> None:
        """On a writing thread: the rank may send as much again."""
        supervisor = self._roster.supervisors.get(rank)
        if supervisor is not None:
            self._server.send(supervisor, Credit(nbytes))

    def _take(self, event: Event) -> None:
        """On the server's thread: queue an event, waiting while too many wait."""
        while self._events.qsize() > MAX_WAITING and not self._closing:
            time.sleep(0.01)
        self._events.put(event)

    def _take_signals(self) -> None:
        while self._signals.pending:
            number = self._signals.pending.popleft()
            if number in ENDING:
                self._interrupts.append(number)
                self._verdict = self._verdict or interrupt_verdict(number)
            else:
                self._server.broadcast(Signal(number), role="supervisor")

    def _watch(self) -> Verdict | None:
        """Serve events until the job is over; None when all ranks ended well."""
        judge = Judge(self._plan, self._spec, self._roster, self._started, type(self._backend))
        while True:
            self._turn()
            now = time.monotonic()
            if self._verdict is not None:
                return self._verdict
            outcome = judge.look(now, self._muster.running_since)
            if outcome is not None:
                if outcome.note:
                    self._output.finish_lines()
                    self._output.say(outcome.note)
                return outcome.verdict
            if self._spec.timeout is not None and now - self._muster.running_since > self._spec.timeout:
                return self._timed_out(self._spec.timeout)

    def _turn(self) -> None:
        """Take what has happened, waiting a moment for the first event; signals and clocks come before a flood."""
        until = time.monotonic() + TURN
        with contextlib.suppress(Empty):
            self._events.get(timeout=TURN)()
            while time.monotonic() < until and not self._signals.pending:
                self._events.get_nowait()()
        self._take_signals()

    def _note_unwritable(self, name: str, error: OSError) -> None:
        if isinstance(error, BrokenPipeError):
            self._verdict = self._verdict or Verdict(kind="interrupt", exit_code=BROKEN_PIPE, text="")
        else:
            self._output.say(f"dtrain: cannot write {name} any more: {error.strerror}; the job goes on without it\n")

    def _hear(self, peer: Peer, message: Message) -> None:
        if not 0 <= peer.rank < self._plan.size:
            self._verdict = self._verdict or start_verdict(
                [f"  expected ranks below {self._plan.size}, got {peer.rank}"]
            )
        elif isinstance(message, Ready):
            problem = self._muster.note_ready(self._server, peer, message)
            if problem:
                self._verdict = self._verdict or start_verdict([f"  {problem}"])
        elif isinstance(message, InputTaken):
            self._muster.want_input()
        else:
            self._roster.note(peer, message)

    def _note_mismatch(self, verdict: Verdict) -> None:
        text = block(verdict.text.removeprefix("dtrain: ").rstrip().splitlines())
        self._verdict = self._verdict or replace(verdict, text=text)

    def _note_garbled(self, peer: Peer, error: MessageError) -> None:
        lines = [f"  {peer.role} of {peer}: {error}", "  every host needs the same environment at the same path"]
        self._verdict = self._verdict or start_verdict(lines)

    def _timed_out(self, seconds: float) -> Verdict:
        self._server.broadcast(DumpStacks(), role="supervisor")
        until = time.monotonic() + STACKS_WAIT
        while time.monotonic() < until and any(not (end.stacks or end.has_ended) for end in self._roster.ends):
            self._turn()
        return timeout_verdict(seconds, self._roster.ends, time.time())

    def _conclude(self, verdict: Verdict) -> int:
        """Say the last word, after everything the ranks wrote before."""
        self._verdict = verdict
        self._output.finish_lines()
        self._output.say(verdict.text)
        self._journal.note(verdict)
        if self._spec.log_dir is not None:
            try:
                verdict.write(self._spec.log_dir)
            except OSError as error:
                self._output.say(f"dtrain: cannot write failure.json in {self._spec.log_dir}: {error.strerror}\n")
        return verdict.exit_code

    def _end_everything(self, grace: float) -> None:
        """Tell all ranks to end, wait, kill what is left. A second signal from outside ends the patience."""
        number = self._interrupts[0] if self._interrupts else signal.SIGTERM
        self._muster.stop(self._server, number, grace)
        patience = len(self._interrupts)
        until = time.monotonic() + grace + 0.5
        while time.monotonic() < until and self._roster.supervisors and len(self._interrupts) == patience:
            self._turn()
        if self._wait_for_backend(BACKEND_GRACE) is None:
            self._started.terminate()
            self._wait_for_backend(BACKEND_GRACE / 2)

    def _wait_for_backend(self, seconds: float) -> int | None:
        until = time.monotonic() + seconds
        while (code := self._started.poll()) is None and time.monotonic() < until:
            self._turn()
        return code


def run_job(plan: LaunchPlan, spec: LaunchSpec, backend: Backend) -> int:
    """Carry out a plan on this process's own output."""
    return Job(plan, spec, backend, sys.stdout, sys.stderr).run()
