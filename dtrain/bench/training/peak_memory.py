"""How much memory one contestant's training needs at its peak: a process of its own, as Linux counts it.

The process imports everything and trains a tiny model in the contestant's way, so that what libraries load at their
first step is there. Then it begins to count: the model, the batch, a first step, which traces or compiles, and three
more. The figure is the high-water mark of its resident memory less what was resident when counting began.
"""

from __future__ import annotations

import contextlib
import gc
import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dtrain.base.errors import LaunchError, expected
from dtrain.bench.training.contestants import BENCHMARK, Setting, build

STATUS = Path("/proc/self/status")
STEPS = 3


@dataclass(frozen=True, slots=True)
class PeakMemory:
    """MiB above what was resident before, and whether the mark was reset then; else imports may have raised it."""

    mebibytes: float
    is_reset: bool


def peak_memory(contestant: str, setting: Setting) -> PeakMemory:
    """Train in a fresh process and ask it. Raises LaunchError with its last words where it fails."""
    given = json.dumps({"contestant": contestant, **asdict(setting)})
    process = subprocess.run(
        [sys.executable, "-m", "dtrain.bench.training.peak_memory", given], capture_output=True, text=True
    )
    if process.returncode:
        words = process.stderr.strip().rpartition("\n")[2] or f"exit code {process.returncode}"
        raise LaunchError(expected(f"{BENCHMARK} --memory", f"{contestant} to train in a process of its own", words))
    return PeakMemory(**json.loads(process.stdout.splitlines()[-1]))


def measure(contestant: str, setting: Setting) -> PeakMemory:
    """The peak of this process; what it has done before counts where the mark cannot be reset."""
    build(contestant, replace(setting, model="mlp", batch_size=1, size=8))()
    gc.collect()
    is_reset = _reset_mark()
    before = _kibibytes("VmRSS")
    step = build(contestant, setting)
    for _ in range(1 + STEPS):
        step()
    return PeakMemory((_kibibytes("VmHWM") - before) / 1024, is_reset)


def _reset_mark() -> bool:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
        return _kibibytes("VmHWM") <= _kibibytes("VmRSS") + 1024
    return False


def _kibibytes(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", STATUS.read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    print(json.dumps(asdict(measure(arguments.pop("contestant"), Setting(**arguments)))))
