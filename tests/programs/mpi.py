"""Many programs in one job under a real mpirun. What is done is written down, so that a job that ends early goes on."""

from __future__ import annotations

import pickle
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from helpers.run_ranks import run_ranks

from dtrain import collectives as dist
from programs.generate import generate
from programs.judge import Outcome, judge, run_on, stretches, whole
from programs.rank import Result, Run
from programs.run import body_of, settings_of

Key = tuple[int, int]  # seed and ranks


def outcomes_under_mpi(keys: Sequence[Key], size: int, *, timeout: float) -> Iterator[tuple[Key, Outcome]]:
    """The outcome of each program, on the first ranks of a job of `size` ranks."""
    wanted = {key: _one_process(key) for key in keys}
    left = [key for key in keys if isinstance(wanted[key], Result)]
    yield from ((key, found) for key, found in wanted.items() if isinstance(found, Outcome))
    while left:
        with tempfile.TemporaryDirectory() as folder:
            error = ""
            try:
                arguments = {"keys": left, "folder": folder}
                run_ranks(__file__, "programs_of_a_rank", size, arguments=arguments, timeout=timeout)
            except AssertionError as failed:
                error = str(failed)
            by_rank = [_read(Path(folder) / f"results.{rank}") for rank in range(size)]
        num_done = min(map(len, by_rank))
        for position, key in enumerate(left[:num_done]):
            yield key, _judged(key, wanted[key], [results[position] for results in by_rank])
        if error and num_done < len(left):
            yield left[num_done], Outcome("error", _headline(error))
            num_done += 1
        left = left[num_done:]


def programs_of_a_rank(communicator: Any, keys: Sequence[Key], folder: str) -> None:
    """Run all programs, one after another, as this rank."""
    groups = {communicator.size: communicator}
    for size in range(1, communicator.size):
        groups[size] = communicator.split(0 if communicator.rank < size else None)
    with Path(folder, f"results.{communicator.rank}").open("wb") as file:
        for number, (seed, ranks) in enumerate(keys):
            program = generate(seed, ranks)
            body, settings = body_of(program), settings_of(program)
            worlds, resume_at = settings.pop("worlds"), settings.pop("resume_at")
            found: list[Result | None] = []
            for size, first, last in stretches(worlds, resume_at):
                group = groups[size]
                found.append(None)
                if group is not None:
                    path = str(Path(folder) / f"checkpoint{number}.safetensors")
                    run = Run(rank=group.rank, size=size, first=first, last=last, path=path, **settings)
                    with dist.using(group):
                        found[-1] = run_on(body, run)
                communicator.barrier()  # a checkpoint is whole when the next stretch begins
            pickle.dump(found, file)
            file.flush()


def _headline(text: str) -> str:
    """The line of a traceback that names the error, or the last one."""
    lines = [line for line in text.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit)\b", line)]
    return (named or lines)[-1]


def _read(path: Path) -> list[list[Result | None]]:
    found = []
    if path.exists():
        with path.open("rb") as file:
            try:
                while True:
                    found.append(pickle.load(file))
            except EOFError:
                pass
    return found


def _one_process(key: Key) -> Result | Outcome:
    """The result to compare with, or why there is none."""
    program = generate(*key)
    try:
        return whole(body_of(program), dtype=program.dtype, seed=program.seed, by_parts=program.by_parts)
    except Exception as error:
        return Outcome("void", f"one process: {type(error).__name__}: {error}")


def _judged(key: Key, wanted: Result, by_rank: list[list[Result | None]]) -> Outcome:
    program = generate(*key)
    num_stretches = len(program.worlds)
    found = [[ranks[i] for ranks in by_rank if ranks[i] is not None] for i in range(num_stretches)]
    return judge(wanted, found, program.dtype)
