"""The fault matrix as a table: every fault in every phase, under every starter, on the first and the last rank.

What is right: a rank that dies, raises or exits ends the job within two seconds of the fault, with its own code, its
name and its traceback. One that stands still (SIGSTOP, an endless loop) is no fault that anybody could see at once: the
job ends at `--timeout`, whose verdict says who runs where. What goes wrong in an atexit function Python prints and
ignores, so only what ends the process there counts. A rank that leaves with 0 while others still need it is named.
Under a bare mpirun nobody watches: who calls `sys.exit` waits in MPI's end for the others, and they for it in a
collective, until that times out. mpirun of Open MPI 5.0 itself now and then crashes, or hangs with all ranks gone, when
a rank ends while another still connects to it; `dtrain run` lives through that, alone it is its user's answer.
"""

from __future__ import annotations

from dataclasses import dataclass

PHASES = (
    "import",
    "before init",
    "init",
    "first collective",
    "inside a collective",
    "traced step",
    "hook",
    "optimizer",
    "checkpoint",
    "last step",
    "atexit",
)
STARTERS = ("mpirun", "local", "bare mpirun", "ray")  # and srun, on two hosts, where a Slurm is: `of_slurm`
OF_RANKS = ("init", "first collective", "inside a collective")  # phases that ranks without MPI do not have

# Fault: the code it gives, and a word of its report.
FAULTS = {
    "raise": (1, "RuntimeError: planned failure"),
    "exit 0": (0, ""),
    "exit 3": (3, "exit code 3"),
    "_exit": (5, "exit code 5"),
    "SIGKILL": (137, "SIGKILL"),
    "SIGSEGV": (139, "SIGSEGV"),
    "abort": (134, "SIGABRT"),
    "SIGSTOP": (124, "timeout"),
    "endless loop": (124, "timeout"),
    "out of memory": (1, "MemoryError"),
    "thread": (1, "RuntimeError: planned failure"),
    "loader worker": (1, "planned failure"),
    "closed stdout": (1, "RuntimeError: planned failure"),
    "disk full": (1, "No space left on device"),
}
STANDS_STILL = ("SIGSTOP", "endless loop")
ENDS_THE_PROCESS = ("_exit", "SIGKILL", "SIGSEGV", "abort")
MISMATCH = 120


@dataclass(frozen=True)
class Cell:
    """One run: what goes wrong, when, under what, on which rank, and whether all ranks print without pause."""

    fault: str
    phase: str
    starter: str
    is_last: bool
    is_heavy: bool

    def __str__(self) -> str:
        return f"{self.fault}, {self.phase}, {self.starter}, {'last' if self.is_last else 'first'}" + (
            ", heavy" if self.is_heavy else ""
        )

    @property
    def code(self) -> int | None:
        """The right exit code; None where any but 0 will do."""
        if self.phase == "atexit" and self.fault not in (*ENDS_THE_PROCESS, *STANDS_STILL):
            return 0
        if self.fault == "exit 0":
            if self.starter == "local" or self.phase == "last step":
                return 0
            return MISMATCH if self.phase in ("import", "before init", "init") else None
        if self.starter == "bare mpirun" and self.fault in (*STANDS_STILL, "exit 3"):
            return None  # nobody watches: the others end by the timeout of their collective
        return FAULTS[self.fault][0]

    @property
    def may_be_killed_unheard(self) -> bool:
        """Slurm kills the whole step for it, perhaps before the rank's supervisor has told the code."""
        return self.starter == "srun" and self.fault in ENDS_THE_PROCESS

    @property
    def has_traceback(self) -> bool:
        """An exception that nobody catches: its frames are part of the verdict."""
        return self.code == 1

    @property
    def may_break_mpirun(self) -> bool:
        """The end comes before MPI has started, and nobody but mpirun is there to tell of it."""
        return self.starter == "bare mpirun" and self.phase in ("import", "before init", "init")

    @property
    def excuse(self) -> str:
        """Why this cell is not run, or nothing."""
        if self.starter == "local" and self.phase in OF_RANKS:
            return "ranks without MPI have no such phase"
        if self.starter == "bare mpirun" and self.fault in (*STANDS_STILL, "exit 0"):
            if self.phase in ("import", "before init", "init"):
                return "MPI waits in its own start without a limit, and nobody watches"
            if self.phase in ("last step", "atexit"):
                return "MPI waits in its own end without a limit, and nobody watches"
        if self.fault == "exit 0" and self.phase == "init":
            return "the same as before init"
        return ""


def all_cells() -> list[Cell]:
    """The product, without the cells that have an excuse."""
    cells = [
        Cell(fault, phase, starter, is_last, is_heavy)
        for starter in STARTERS
        for fault in FAULTS
        for phase in PHASES
        for is_last in (False, True)
        for is_heavy in (False, True)
    ]
    return [cell for cell in cells if not cell.excuse]


def whole() -> list[Cell]:
    """Every fault in every phase under mpirun, rank and output in turns; a part of them under the other starters."""
    cells = []
    for cell in all_cells():
        fault, phase = list(FAULTS).index(cell.fault), PHASES.index(cell.phase)
        turn = fault + phase
        if (cell.is_last, cell.is_heavy) != (turn % 2 == 0, turn // 2 % 2 == 0):
            continue
        step = {"mpirun": 1, "local": 5, "bare mpirun": 5, "ray": 23}[cell.starter]
        if (fault * len(PHASES) + phase) % step == 0:
            cells.append(cell)
    return cells


def chosen(words: str) -> list[Cell]:
    """The cells of a run: by "" those of `whole`, by "1" the product, by "2/12" the second of twelve parts of it."""
    if not words:
        return whole()
    part, _, parts = words.partition("/")
    number, count = int(part), int(parts or 1)
    if not 1 <= number <= count:
        raise ValueError(f"FAULTS_EVERYTHING: expected 1, or a part such as 2/12, got {words!r}")
    return all_cells()[number - 1 :: count]


def of_slurm() -> list[Cell]:
    """A few under srun, the last rank on another host than the first."""
    return [
        Cell("raise", "inside a collective", "srun", True, False),
        Cell("raise", "hook", "srun", False, True),
        Cell("exit 3", "optimizer", "srun", True, False),
        Cell("exit 0", "before init", "srun", False, False),
        Cell("_exit", "first collective", "srun", True, False),
        Cell("SIGKILL", "inside a collective", "srun", True, True),
        Cell("SIGSTOP", "traced step", "srun", True, False),
    ]


def sample() -> list[Cell]:
    """A few that differ in everything, for every run of the test suite."""
    return [
        Cell("raise", "inside a collective", "mpirun", True, True),
        Cell("SIGSEGV", "first collective", "mpirun", False, False),
        Cell("exit 3", "optimizer", "mpirun", True, False),
        Cell("SIGSTOP", "hook", "mpirun", False, True),
        Cell("closed stdout", "traced step", "mpirun", False, False),
        Cell("out of memory", "checkpoint", "local", True, True),
        Cell("SIGKILL", "atexit", "local", False, False),
        Cell("exit 0", "import", "mpirun", True, False),
        Cell("_exit", "first collective", "bare mpirun", True, False),
    ]
