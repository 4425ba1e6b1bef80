"""What is known of each rank of a running job, kept up from the messages of ranks and their supervisors."""

from __future__ import annotations

import platform
import signal
import time
from collections.abc import Callable
from pathlib import Path

from dtrain.base.errors import expected
from dtrain.base.version import VERSION
from dtrain.control.frames import Message
from dtrain.control.server import Peer
from dtrain.launcher.job.rank_end import RankEnd
from dtrain.launcher.job.stacks import asked_stack, crash_stack
from dtrain.launcher.plan.placement import ReadyRank

STOPPED = "nowhere: a signal (SIGSTOP, Ctrl-Z) or a debugger holds the process, which runs no code"
SILENT = "no answer: it was still starting, or in the end of the process"


class Roster:
    """`ends[rank]` for every rank; `failures` in the order they were learnt; `supervisors` still connected."""

    def __init__(self, size: int, *, log_of: Callable[[int], Path | None] = lambda _: None) -> None:
        self.size = size
        self.ends = [RankEnd(rank=rank, log=str(log_of(rank) or "")) for rank in range(size)]
        self.failures: list[RankEnd] = []
        self.ready: dict[int, ReadyRank] = {}
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

    def note_ready(self, peer: Peer, message: Message) -> str:
        """A supervisor is up. Returns what is wrong with it, or nothing."""
        if peer.rank in self.ready:
            return (
                f"expected each rank once, got rank {peer.rank} twice ({peer.host} and {self.ready[peer.rank].host}); "
                "does mpirun belong to another MPI than the one this Python uses?"
            )
        problem = _other_version(peer, message)
        if problem:
            return problem
        self.supervisors[peer.rank] = peer
        end = self.ends[peer.rank]
        end.host, end.pid = peer.host, int(message["child_pid"])
        self.ready[peer.rank] = ReadyRank(
            rank=peer.rank,
            size=self.size,
            host=peer.host,
            address=peer.address,
            pid=end.pid,
            cores=tuple(message["cores"]),
            num_cores=int(message["num_cores"]),
            devices=tuple(message["devices"]),
            free_port=int(message["free_port"]),
        )
        return ""

    def note(self, peer: Peer, message: Message) -> None:
        """Any other message of a rank or supervisor; kinds that say nothing of the rank's state are passed over."""
        end = self.ends[peer.rank]
        kind = message["type"]
        if kind == "progress":
            end.step, end.op, end.time = int(message["step"]), str(message["op"]), float(message["time"])
        elif kind == "failure":
            end.exception, end.message = str(message["exception"]), str(message["message"])
            end.traceback = str(message["traceback"])
            end.sides = tuple(map(str, message.get("sides", ())))
        elif kind == "stacks":
            end.stacks = STOPPED if message["is_stopped"] else asked_stack(str(message["text"])) or SILENT
        elif kind == "joining":
            self._joining.add(peer.rank)
        elif kind == "joined":
            self._joined.add(peer.rank)
        elif kind == "summary":
            self._exchanged[peer.rank] = message["has_exchanged"]
        elif kind == "exit":
            self._note_exit(end, message)

    def note_lost(self, peer: Peer) -> None:
        """A connection is gone. Of a supervisor without a last report: it was killed, or its host is gone."""
        if peer.role != "supervisor" or self.supervisors.get(peer.rank) is not peer:
            return
        del self.supervisors[peer.rank]
        end = self.ends[peer.rank]
        if not end.has_ended:
            end.signal, end.lost, end.time = signal.SIGKILL, True, time.time()
            self.failures.append(end)

    def _note_exit(self, end: RankEnd, message: Message) -> None:
        end.code = None if message["signal"] else int(message["code"])
        end.signal = int(message["signal"])
        end.asked = bool(message["asked"])
        end.max_rss, end.oom_kills = int(message["max_rss"]), int(message["oom_kills"])
        end.faults = crash_stack(str(message["faults"]))
        end.time = float(message["time"])
        if end.has_failed:
            self.failures.append(end)


def _other_version(peer: Peer, message: Message) -> str:
    """Words where a host runs another dtrain or another Python than the launcher: ranks would talk past each other."""
    python = str(message.get("python", "an unknown one"))
    advice = "install the same environment at the same path on every host"
    if message.get("dtrain") != VERSION:
        given = f"{message.get('dtrain', 'an older one')} on {peer.host}"
        return expected("dtrain", f"version {VERSION} on every host, as here", given, advice)
    if python.split(".")[:2] != platform.python_version().split(".")[:2]:
        wanted = f"{platform.python_version()} on every host, as here"
        return expected("Python", wanted, f"{python} on {peer.host}", advice)
    return ""
