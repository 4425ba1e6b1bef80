"""What is known of each rank of a running job, kept up from the messages of ranks and their supervisors."""

from __future__ import annotations

import platform
import signal
import time
from collections.abc import Callable
from pathlib import Path

from dtrain.base.errors import expected
from dtrain.base.version import VERSION
from dtrain.control.messages import Exited, Joined, Joining, Message, Progress, Ready, Stacks, Summary
from dtrain.control.peer import Peer
from dtrain.control.verdict import Failure
from dtrain.launcher.job.rank_end import RankEnd
from dtrain.launcher.job.stacks import asked_stack, crash_stack
from dtrain.launcher.plan.placement import KnownRank

STOPPED = "nowhere: a signal (SIGSTOP, Ctrl-Z) or a debugger holds the process, which runs no code"
SILENT = "no answer: it was still starting, or in the end of the process"


class Roster:
    """`ends[rank]` for every rank; `failures` in the order they were learnt; `supervisors` still connected."""

    def __init__(
        self,
        size: int,
        *,
        log_of: Callable[[int], Path | None] = lambda _: None,
        on_end: Callable[[RankEnd], None] = lambda _: None,
        twice_advice: str = "",
    ) -> None:
        """`twice_advice` is for a job of which two processes are the same rank."""
        self.size = size
        self._twice_advice = twice_advice
        self._on_end = on_end
        self.ends = [RankEnd(rank=rank, log=str(log_of(rank) or "")) for rank in range(size)]
        self.failures: list[RankEnd] = []
        self.ready: dict[int, KnownRank] = {}
        self.supervisors: dict[int, Peer] = {}
        self._joining: set[int] = set()  # in dist.init(), which ends when all ranks are in it
        self._joined: set[int] = set()
        self._exchanged: dict[int, bool | None] = {}  # of scripts that came to their end; None: it cannot tell

    @property
    def all_ended(self) -> bool:
        return all(end.has_ended for end in self.ends)

    @property
    def missing(self) -> list[int]:
        """Ranks that have not come up."""
        return [rank for rank in range(self.size) if rank not in self.ready]

    @property
    def unexplained(self) -> list[RankEnd]:
        """Ranks that ended badly because somebody other than us told them to."""
        return [end for end in self.ends if end.has_ended and end.exit_code != 0]

    @property
    def early_leavers(self) -> list[RankEnd]:
        """Ranks that ended well before `dist.init()` while others wait in it, which nobody can end any more."""
        if not any(not self.ends[rank].has_ended for rank in self._joining - self._joined):
            return []
        return [end for end in self.ends if end.code == 0 and not end.asked and end.rank not in self._joining]

    @property
    def left_without_a_word(self) -> list[RankEnd]:
        """Ranks for which others were stopped: code 0 without the end of the script, by `os._exit(0)` say."""
        if not self.unexplained:
            return []
        return [end for end in self.ends if end.code == 0 and not end.asked and end.rank not in self._exchanged]

    @property
    def waiting_to_join(self) -> list[int]:
        """Ranks in `dist.init()`."""
        return sorted(rank for rank in self._joining - self._joined if not self.ends[rank].has_ended)

    @property
    def nobody_exchanged(self) -> bool:
        """Every one of several ranks used dtrain, ended well and says that no collective ran."""
        return self.size > 1 and [self._exchanged.get(rank) for rank in range(self.size)] == [False] * self.size

    @property
    def all_joined(self) -> bool:
        """Every rank has come out of `dist.init()`."""
        return len(self._joined) == self.size

    def note_ready(self, peer: Peer, message: Ready) -> str:
        """A supervisor is up. Returns what is wrong with it, or nothing."""
        if peer.rank in self.ready:
            twice = f"rank {peer.rank} twice ({peer.host} and {self.ready[peer.rank].host})"
            return expected("launcher", "each rank once", twice, self._twice_advice)
        problem = _other_version(peer, message)
        if problem:
            return problem
        self.supervisors[peer.rank] = peer
        end = self.ends[peer.rank]
        end.host, end.pid = peer.host, message.child_pid
        self.ready[peer.rank] = KnownRank(
            rank=peer.rank,
            host=peer.host,
            address=peer.address,
            pid=end.pid,
            cores=message.cores,
            num_cores=message.num_cores,
            devices=message.devices,
            free_port=message.free_port,
        )
        return ""

    def note(self, peer: Peer, message: Message) -> None:
        """Any other message of a rank or supervisor; kinds that say nothing of the rank's state are passed over."""
        end = self.ends[peer.rank]
        match message:
            case Progress(collective_index, call_text, seconds):
                end.collective_index, end.call_text, end.time = collective_index, call_text, seconds
            case Failure():
                end.said = message
            case Stacks(text, is_stopped):
                end.stacks = STOPPED if is_stopped else asked_stack(text) or SILENT
            case Joining():
                self._joining.add(peer.rank)
            case Joined():
                self._joined.add(peer.rank)
            case Summary(has_exchanged):
                self._exchanged[peer.rank] = has_exchanged
            case Exited():
                self._note_exit(end, message)

    def note_lost(self, peer: Peer) -> None:
        """A connection is gone. Of a supervisor without a last report: it was killed, or its host is gone.

        The rank may have said before what it dies of, and with which code.
        """
        if peer.role != "supervisor" or self.supervisors.get(peer.rank) is not peer:
            return
        del self.supervisors[peer.rank]
        end = self.ends[peer.rank]
        if not end.has_ended:
            end.time = time.time()
            if end.said is not None:  # it was on its way out
                end.signal = end.said.signal
                end.code = None if end.signal else end.said.exit_code
            else:
                end.signal, end.lost = signal.SIGKILL, True
            self.failures.append(end)
            self._on_end(end)

    def _note_exit(self, end: RankEnd, message: Exited) -> None:
        end.code = None if message.signal else message.code
        end.signal, end.asked, end.time = message.signal, message.asked, message.time
        end.max_rss, end.oom_kills = message.max_rss, message.oom_kills
        end.faults = crash_stack(message.faults)
        if end.has_failed:
            self.failures.append(end)
        self._on_end(end)


def _other_version(peer: Peer, message: Ready) -> str:
    """Words where a host runs another dtrain or another Python than the launcher: ranks would talk past each other."""
    advice = "install the same environment at the same path on every host"
    if message.dtrain != VERSION:
        wanted = f"version {VERSION} on every host, as here"
        return expected("dtrain", wanted, f"{message.dtrain} on {peer.host}", advice)
    if message.python.split(".")[:2] != platform.python_version().split(".")[:2]:
        wanted = f"{platform.python_version()} on every host, as here"
        return expected("Python", wanted, f"{message.python} on {peer.host}", advice)
    return ""
