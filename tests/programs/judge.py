"""The comparison of a program's ranks with one process that has the whole batch, and of the ranks with each other."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import dtrain as dt
from dtrain import collectives as dist
from programs.rank import Result, Run

# Of the largest number beside it: how far two orders of summation may lead apart within a few steps.
TOLERANCE = {"f64": 1e-9, "f32": 1e-4, "f16": 2e-2, "bf16": 1e-1}


Body = Callable[[Run], Result]


@dataclass(frozen=True)
class Outcome:
    """equal; void (one process has no finite result either); differs (from one process); apart (ranks do); error."""

    verdict: str
    text: str = ""

    @property
    def is_failure(self) -> bool:
        return self.verdict not in ("equal", "void")


def run_on(body: Body, run: Run) -> Result:
    """One rank's result; means over no samples may be NaN without a word. Ranks begin with different parameters."""
    dt.seed(run.seed, rank=run.rank)
    with np.errstate(all="ignore"):
        return body(run)


def whole(body: Body, *, dtype: str, seed: int, by_parts: bool) -> Result:
    """The result of one process with the whole batch."""
    run = Run(rank=0, size=0, dtype=dtype, seed=seed, by_parts=by_parts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return run_on(body, run)


def stretches(worlds: Sequence[int], resume_at: int) -> list[tuple[int, int, int]]:
    """(ranks, first step, behind the last) of each stretch."""
    if len(worlds) == 1:
        return [(worlds[0], 0, 10**6)]
    return [(worlds[0], 0, resume_at), (worlds[1], resume_at, 10**6)]


def on_threads(
    body: Body, *, worlds: Sequence[int], dtype: str, seed: int, by_parts: bool, resume_at: int, timeout: float = 10.0
) -> list[list[Result]]:
    """The results of every rank of every stretch, ranks being threads."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for size, first, last in stretches(worlds, resume_at):
            settings = {"size": size, "dtype": dtype, "seed": seed, "by_parts": by_parts, "first": first, "last": last}
            settings["path"] = str(Path(folder) / "checkpoint.safetensors")

            def program(communicator: Any, settings: dict[str, Any] = settings) -> Result:
                return run_on(body, Run(rank=communicator.rank, **settings))

            results.append(dist.run_threads(size, program, timeout=timeout))
    return results


def judge(wanted: Result, found: list[list[Result]], dtype: str) -> Outcome:
    """Compare the ranks of every stretch with one process, and with each other bit by bit."""
    if not _is_finite(wanted):
        return Outcome("void", "one process has a number that is not finite")
    for ranks in found:
        for rank, result in enumerate(ranks[1:], 1):
            unequal = [name for name, raw in ranks[0].raw.items() if raw != result.raw.get(name)]
            if unequal:
                return Outcome("apart", f"{', '.join(unequal[:4])}: rank {rank} has other bits than rank 0")
    tolerance = TOLERANCE[dtype]
    last = found[-1]
    texts = _losses(wanted, found, tolerance)
    for rank, result in enumerate(last):
        texts += [f"rank {rank}: {text}" for text in _values(wanted, result, tolerance)]
    for rank in range(min(map(len, found))):
        outputs = [output for ranks in found for output in ranks[rank].outputs]
        texts += [
            f"rank {rank}: evaluation {i} is off by {error:.3g}"
            for i, (mine, right) in enumerate(zip(outputs, wanted.outputs, strict=True))
            if (error := _error(mine, right, 1.0)) > tolerance
        ]
    return Outcome("differs", "; ".join(texts[:4])) if texts else Outcome("equal")


def _is_finite(result: Result) -> bool:
    arrays = [array for array in result.values.values() if array is not None]
    return all(np.isfinite(array).all() for array in [*arrays, *result.outputs, *(loss[:1] for loss in result.losses)])


def _values(wanted: Result, found: Result, tolerance: float) -> Iterator[str]:
    gradients = [array for name, array in wanted.values.items() if array is not None and name.endswith("(gradient)")]
    # A gradient that is zero but for rounding is as exact as the largest one lets it be.
    floor = max((float(abs(array).max(initial=0)) for array in gradients), default=0.0)
    for name, right in wanted.values.items():
        mine = found.values.get(name)
        if right is None or mine is None:
            if mine is not right:
                yield f"{name} is {'None' if mine is None else 'not None'}"
        elif (error := _error(mine, right, floor if name.endswith("(gradient)") else 1.0)) > tolerance:
            yield f"{name} is off by {error:.3g}"


def _error(mine: np.ndarray, right: np.ndarray, floor: float) -> float:
    """The largest distance, as a part of the largest number; infinity where a number is missing."""
    if mine.shape != right.shape:
        return float("inf")
    scale = max(float(abs(right).max(initial=0)), floor) or 1.0
    distance = float(abs(mine - right).max(initial=0)) / scale
    return distance if np.isfinite(distance) else float("inf")


def _losses(wanted: Result, found: list[list[Result]], tolerance: float) -> list[str]:
    """The means over samples of the ranks' losses against those of one process."""
    texts = []
    means = []
    for ranks in found:
        for position in range(len(ranks[0].losses)):
            parts = [result.losses[position] for result in ranks]
            means.append(sum(value * mine for value, mine, _ in parts if mine) / sum(mine for _, mine, _ in parts))
    for position, ((right, _, _), mean) in enumerate(zip(wanted.losses, means, strict=True)):
        if _error(np.array(mean), np.array(right), 1.0) > tolerance:
            texts.append(f"loss {position} is {mean:.6g} instead of {right:.6g}")
    return texts


def judged_on_threads(
    body: Body, *, worlds: Sequence[int], dtype: str, seed: int, by_parts: bool = False, resume_at: int = 0
) -> Outcome:
    """Run a program on one process and on ranks that are threads, and compare."""
    try:
        wanted = whole(body, dtype=dtype, seed=seed, by_parts=by_parts)
    except Exception as error:
        return Outcome("void", f"one process: {type(error).__name__}: {error}")
    try:
        found = on_threads(body, worlds=worlds, dtype=dtype, seed=seed, by_parts=by_parts, resume_at=resume_at)
    except Exception as error:
        return Outcome("error", f"{type(error).__name__}: {error}")
    return judge(wanted, found, dtype)


def compare(body: Body, **settings: Any) -> None:
    """Print what one process and the ranks have computed, and end with code 1 where they differ."""
    outcome = judged_on_threads(body, **settings)
    print(f"{outcome.verdict}: {outcome.text}".rstrip(": "))
    if outcome.is_failure:
        raise SystemExit(1)
