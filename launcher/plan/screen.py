"""What the launcher itself prints: the start screen and the plan.

Colour only on a terminal; rich is loaded when something is shown.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from dtrain.base.cores import THREAD_VARIABLES
from dtrain.launcher.plan.launch_plan import CONTROL_VARIABLES, LaunchPlan
from dtrain.launcher.plan.placement import PlacedRank, ranges

if TYPE_CHECKING:
    from rich.console import Console

MAX_ROWS = 32  # a table of a thousand ranks helps nobody
PLAIN_WIDTH = 160


class Words(io.StringIO):
    """What is to be said, kept until somebody says it; looks like the terminal, or not, that it will go to."""

    def __init__(self, *, is_terminal: bool) -> None:
        super().__init__()
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def show_start(plan: LaunchPlan, ranks: Sequence[PlacedRank], sink: TextIO) -> None:
    """The start screen: launcher and reason, rank table, threads, notes."""
    console = _console(sink)
    _head(console, plan)
    _table(console, ranks)
    _threads(console, plan, ranks)
    _notes(console, plan)
    sink.flush()


def show_plan(plan: LaunchPlan, sink: TextIO) -> None:
    """`--plan-only`: the start screen as far as it is known, every command and every variable set."""
    console = _console(sink)
    _head(console, plan)
    if plan.ranks:
        _table(console, plan.ranks)
        _threads(console, plan, plan.ranks)
    _notes(console, plan)
    sink.write("environment:\n")
    for name, value in sorted((dict(plan.variables.given) | dict(plan.settings)).items()):
        sink.write(f"  {name}={shlex.quote(value)}\n")
    sink.write(f"  {' '.join(CONTROL_VARIABLES)} (set at the start)\n")
    sink.write("command:\n" if len(plan.commands) == 1 else "commands:\n")
    for command in plan.commands:
        sink.write(f"  {command}\n")
    sink.flush()


def _console(sink: TextIO) -> Console:
    from rich.console import Console

    return Console(file=sink, highlight=False, soft_wrap=True, width=None if sink.isatty() else PLAIN_WIDTH)


def _head(console: Console, plan: LaunchPlan) -> None:
    ranks = "1 rank" if plan.size == 1 else f"{plan.size} ranks"
    console.print(f"dtrain: {ranks} by {plan.backend} ({plan.reason})", markup=False)


def _table(console: Console, ranks: Sequence[PlacedRank]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("rank", "host", "node", "local", "cores", "threads", "device", "pid"):
        table.add_column(name, justify="left" if name in ("host", "cores", "device") else "right")
    for rank in ranks[:MAX_ROWS]:
        table.add_row(
            str(rank.rank),
            rank.host,
            str(rank.node_rank),
            f"{rank.local_rank}/{rank.local_size}",
            ranges(rank.cores) or "?",
            str(rank.num_threads or "?"),
            rank.device or "?",
            str(rank.pid or "-"),
        )
    console.print(table)
    if len(ranks) > MAX_ROWS:
        console.print(f"… and {len(ranks) - MAX_ROWS} more", markup=False)


def _threads(console: Console, plan: LaunchPlan, ranks: Sequence[PlacedRank]) -> None:
    given = [f"{name}={plan.variables.all[name]}" for name in THREAD_VARIABLES if name in plan.variables.all]
    if given:
        console.print(f"threads per rank: as you set them ({', '.join(given)})", markup=False)
        return
    counts = sorted({rank.num_threads for rank in ranks if rank.num_threads})
    if counts:
        text = "-".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))
        console.print(f"threads per rank: {text} (cores of the affinity mask / ranks sharing them)", markup=False)


def _notes(console: Console, plan: LaunchPlan) -> None:
    for note in plan.notes:
        console.print(f"note: {note}", markup=False)
    if plan.variables.secret:
        names = ", ".join(plan.variables.secret)
        console.print(
            f"note: not given to the ranks, as they look like secrets: {names} (-x NAME gives one)", markup=False
        )
