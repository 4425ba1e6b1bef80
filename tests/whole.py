"""The whole suite as `make test` runs it: three processes beside each other, then alone what measures time.

    python tests/whole.py [arguments of pytest]

Ends with every failure, the counts of each process and of all together; tests/helpers/lanes.py says who is where.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers.bytecode import share_bytecode

ROOT = Path(__file__).parents[1]
SELECTION = "not cluster and not dry_run and not peers and not wheel and not emulation and not many"
NOTHING_COLLECTED = 5
# What runs beside each other, and the lanes of each process. Two start ranks: these mostly wait for each other, and
# with one such process the two cores were a third idle.
PROCESSES = (
    {"beside": ("beside", "ranks"), "ranks": ("ranks",), "ranks, too": ("ranks", "beside")},
    {"alone": ("alone",)},
)
_COUNT = re.compile(r"(\d+) (failed|passed|skipped|deselected|xfailed|xpassed|warnings?|errors?)\b")


def counts_of(output: str) -> Counter[str]:
    """The counts in pytest's last line; none where it did not come to one."""
    lines = output.strip().splitlines() or [""]
    return Counter(
        {
            what.removesuffix("s") if what in ("errors", "warnings") else what: int(n)
            for n, what in _COUNT.findall(lines[-1])
        }
    )


def failures_in(output: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith(("FAILED ", "ERROR "))]


def in_words(counts: Counter[str]) -> str:
    order = ("failed", "error", "passed", "skipped", "xfailed", "xpassed", "deselected", "warning")
    return ", ".join(f"{counts[what]} {what}" for what in order if counts[what]) or "no tests"


def code_of_all(codes: Sequence[int]) -> int:
    """The exit code of the whole, from those of the processes; one that a signal has ended (below 0) is no good end."""
    wrong = [code for code in codes if code not in (0, NOTHING_COLLECTED)]
    return max(wrong, default=0 if 0 in codes else NOTHING_COLLECTED)


class Process:
    """pytest over what it claims of the files of some lanes; its output is in a file until it is shown."""

    def __init__(
        self, name: str, lanes: Sequence[str], folder: Path, arguments: list[str], env: Mapping[str, str]
    ) -> None:
        self.name = name
        self.path = folder / name
        command = [sys.executable, "-m", "pytest", "-m", SELECTION, *(f"--lane={lane}" for lane in lanes)]
        claims = folder / "claims"
        claims.mkdir(exist_ok=True)
        # With `=`: pytest looks for folders among the arguments before it knows what the option is.
        command += [f"--claims={claims}", "-o", f"cache_dir=.pytest_cache/{name}", *arguments]
        with self.path.open("w") as output:
            self.process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)

    def end(self) -> str:
        """Show what comes until the process ends, and return all of it."""
        with self.path.open(encoding="utf-8", errors="replace") as output:
            while self.process.poll() is None:
                print(output.read(), end="", flush=True)
                time.sleep(0.2)
            print(output.read(), end="", flush=True)
        return self.path.read_text(encoding="utf-8", errors="replace")


def main(arguments: list[str]) -> int:
    began = time.monotonic()
    outputs: dict[str, str] = {}
    codes: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        env = dict(os.environ)
        share_bytecode(env, Path(folder) / "bytecode")
        for together in PROCESSES:
            started = [Process(name, lanes, Path(folder), arguments, env) for name, lanes in together.items()]
            for process in started:
                print(f"\n=== {process.name}", flush=True)
                outputs[process.name] = process.end()
                codes[process.name] = process.process.returncode
    seconds = time.monotonic() - began
    print("\n=== all")
    for output in outputs.values():
        print(*(f"{line}\n" for line in failures_in(output)), sep="", end="")
    total: Counter[str] = Counter()
    for name, output in outputs.items():
        counts = counts_of(output)
        total += counts
        print(f"{name}: {in_words(counts)}; exit code {codes[name]}")
    print(f"{in_words(total)} in {seconds:.2f}s ({int(seconds) // 60}:{int(seconds) % 60:02d})")
    return code_of_all(list(codes.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
