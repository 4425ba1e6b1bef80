"""Do the ranks of each group run the same collectives? Whoever serves the channel compares what they send."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from dtrain.control.exit_codes import FAILED, RANKS_DISAGREE
from dtrain.control.messages import Schedule
from dtrain.control.peer import Peer
from dtrain.control.verdict import Failure, Verdict


@dataclass(frozen=True, slots=True)
class RankSchedule:
    """What one rank sent for one position of one group."""

    rank: int
    host: str
    digest: str
    text: str


class Agreement:
    """Keeps the first schedule of each position of each group; later ones are compared with it."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, int], RankSchedule] = {}

    def compare(self, peer: Peer, sent: Schedule) -> Verdict | None:
        """The verdict if this schedule is another one than the first, else None."""
        mine = RankSchedule(peer.rank, peer.host, sent.digest, sent.text)
        first = self._first.setdefault((sent.group, sent.position), mine)
        return None if first.digest == mine.digest else mismatch_verdict(sent.group, sent.position, first, mine)


def mismatch_verdict(group: str, position: int, first: RankSchedule, second: RankSchedule) -> Verdict:
    """Both ranks' schedules as a unified diff, the lower rank first."""
    left, right = sorted((first, second), key=lambda schedule: schedule.rank)
    names = [f"rank {schedule.rank} on {schedule.host or 'unknown host'}" for schedule in (left, right)]
    left_lines, right_lines = left.text.splitlines(), right.text.splitlines()
    diff = list(difflib.unified_diff(left_lines, right_lines, names[0], names[1], lineterm="", n=3))
    if not diff:
        diff = [f"the texts are equal but the digests differ: {left.digest} and {right.digest}"]
    at = next((i for i, pair in enumerate(zip(left_lines, right_lines)) if pair[0] != pair[1]), None)
    at = min(len(left_lines), len(right_lines)) if at is None else at
    sides = [
        f"  rank {schedule.rank}: {lines[at].strip() if at < len(lines) else '(nothing more)'}"
        for schedule, lines in ((left, left_lines), (right, right_lines))
    ]
    text = [
        f"dtrain: schedule mismatch: ranks {left.rank} and {right.rank} of group {group} "
        f"run different collectives (schedule {position}).",
        f"First difference, in line {at + 1}:",
        *sides,
        *diff,
        "What to do: make every rank take the same branches and build the same model; "
        "only batch contents and batch sizes may differ.",
    ]
    return Verdict(
        kind="mismatch", exit_code=RANKS_DISAGREE, ranks=(left.rank, right.rank), text="\n".join(text) + "\n"
    )


def failure_verdict(peer: Peer, failure: Failure) -> Verdict:
    """What the surviving ranks print where no launcher words it for them."""
    text = (
        f"dtrain: {peer} failed with {failure.kind}: {failure.text}\n"
        f"{failure.traceback.rstrip()}\nThis ended the job on all ranks.\n"
    )
    return Verdict(kind="failure", exit_code=FAILED, ranks=(peer.rank,), text=text, first=failure)
