"""What kernels took on this machine, in a file that later processes read.

The file is named by what the times depend on: the processor and its features, and the compiled module down to its last
byte. Nothing is measured unless somebody asks: ranks that timed kernels each for itself could choose differently, and
what they compute alike would drift apart in the last bits.
"""

from __future__ import annotations

import json
import os
import platform
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import numpy as np

from dtrain.base.errors import DeviceError, expected
from dtrain.base.library_threads import num_threads
from dtrain.base.rank_info import RankInfo
from dtrain.base.tensor_type import TensorType
from dtrain.base.turns import Samples, repeated, take_turns
from dtrain.base.version import VERSION
from dtrain.kernels.array_module import Array
from dtrain.kernels.candidate import Candidate
from dtrain.kernels.features import detected, processor
from dtrain.kernels.problem import Problem
from dtrain.kernels.quiet import quiet
from dtrain.kernels.workspace import bind_alone

SAMPLE_SECONDS = 0.002  # of repeated calls: long enough for the clock
Microseconds = Mapping[str, float]  # by the name of the kernel


def machine() -> dict[str, str]:
    """What times depend on. The digest is of the compiled module, and empty where there is none."""
    return {**_installed(), "threads": str(num_threads())}


@cache
def _installed() -> dict[str, str]:
    found = find_spec("dtrain.kernels._cpu")
    module = Path(found.origin).read_bytes() if found is not None and found.origin else b""
    return {
        "processor": processor(),
        "features": " ".join(sorted(detected())),
        "library": sha256(module).hexdigest() if module else "",
        "numpy": np.__version__,
        "python": platform.python_version(),
        "version": VERSION,
    }


def times_file() -> Path:
    """`kernels-<digest of the machine>.json` in the user's cache folder (XDG_CACHE_HOME, or ~/.cache)."""
    digest = sha256(json.dumps(machine(), sort_keys=True).encode()).hexdigest()[:16]
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "dtrain" / f"kernels-{digest}.json"


def times_of(problem: Problem) -> Microseconds:
    """What was measured for `problem`; empty where nothing was."""
    return _read(times_file()).get(str(problem), {})


def measure(problem: Problem, kernels: Sequence[Candidate], *, repeats: int = 7) -> Microseconds:
    """Time `kernels` on arrays of the problem's types, and keep the medians in the file.

    Floats are drawn from [0.5, 1.5), integers are 0: a place that every array of at least one element has. Where the
    file cannot be written a warning says so, and the times hold for this process.

    Raises:
        DeviceError: a problem on a GPU.
        ValueError: one of several ranks, a problem that this machine's memory does not hold, or a file that is none.
    """
    if problem.device_kind != "cpu":
        advice = "dtrain bench kernels --device cuda times those of a GPU"
        raise DeviceError(expected("measure", "a problem on the CPU", str(problem), advice))
    ranks = RankInfo.from_environment().size
    if ranks > 1:
        advice = "run dtrain explain kernel … --measure before, or one process under DTRAIN_KERNELS=measure"
        raise ValueError(expected("measure", "one process", f"{ranks} ranks", advice))
    _expect_room(problem, kernels)
    inputs, outputs = _arrays(problem.inputs), _arrays(problem.outputs)
    measured = timed(problem, kernels, inputs, outputs, repeats)
    found = {name: samples.median * 1e6 for name, samples in measured.items()}
    _add(problem, found)
    return found


def timed(
    problem: Problem, kernels: Sequence[Candidate], inputs: Sequence[Array], outputs: Sequence[Array], repeats: int
) -> dict[str, Samples]:
    """Seconds a call of each kernel, by name, on these arrays of the host. The kernels take turns."""
    out = outputs[0] if len(outputs) == 1 else tuple(outputs)
    calls = {kernel.name: quiet(bind_alone(kernel, problem, inputs, out)) for kernel in kernels}
    return take_turns({name: repeated(call, least_seconds=SAMPLE_SECONDS) for name, call in calls.items()}, repeats)


def _expect_room(problem: Problem, kernels: Sequence[Candidate]) -> None:
    """Arrays, the largest workspace, and the f64 numbers that the largest array is drawn as."""
    drawn = max((type.size * 8 for type in (*problem.inputs, *problem.outputs)), default=0)
    needed = problem.nbytes + drawn + max((kernel.workspace_nbytes(problem) for kernel in kernels), default=0)
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        given = f"{problem}, which takes {needed / 2**30:.4g} GiB"
        raise ValueError(expected("measure", f"a problem within the {there / 2**30:.4g} GiB of this machine", given))


def _arrays(types: Sequence[TensorType]) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [
        np.asarray(0.5 + generator.random(type.array_shape), type.array_dtype)
        if type.dtype.is_floating
        else np.zeros(type.array_shape, type.array_dtype)
        for type in types
    ]


_kept: tuple[Path, dict[str, Microseconds]] | None = None


def _read(file: Path) -> dict[str, Microseconds]:
    """All times of a file, read once: a process decides by what was known when it began, and by what it adds."""
    global _kept
    if _kept is None or _kept[0] != file:
        _kept = file, _load(file)
    return _kept[1]


def _load(file: Path) -> dict[str, Microseconds]:
    try:
        problems: dict[str, Microseconds] = json.loads(file.read_text())["problems"]
        given = next((f"{times!r} for {name}" for name, times in problems.items() if not _are_times(times)), None)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        advice = "make it readable, or leave out DTRAIN_KERNELS"
        raise ValueError(expected("measured kernels", f"times in {file}", str(error), advice)) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        given = f"{type(error).__name__}: {error}"
    if given is not None:
        raise ValueError(expected("measured kernels", f"times in {file}", given, "delete the file"))
    return problems


def _are_times(times: Any) -> bool:
    """Microseconds by the name of the kernel."""
    return isinstance(times, dict) and all(type(each) in (int, float) and each >= 0 for each in times.values())


def _add(problem: Problem, times: Microseconds) -> None:
    """Write what others wrote meanwhile, and these times."""
    global _kept
    file = times_file()
    kept = _kept[1] if _kept is not None and _kept[0] == file else {}
    problems = {**kept, **_load(file)}
    problems[str(problem)] = {**problems.get(str(problem), {}), **times}
    _kept = file, problems
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=file.parent, suffix=".part", delete=False) as written:
            json.dump({"machine": machine(), "problems": problems}, written, indent=1, sort_keys=True)
        os.replace(written.name, file)
    except OSError as error:
        advice = "set XDG_CACHE_HOME to a folder that can be written; the times hold for this process alone"
        warnings.warn(expected("measured kernels", f"to keep times in {file}", str(error), advice), stacklevel=2)
