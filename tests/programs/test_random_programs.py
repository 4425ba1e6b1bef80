"""A few of the random programs at every test run: threads against one process, and some under a real mpirun.

`make test-programs` runs 2,000. A program that fails here is printed; `python -m programs` makes it small.
"""

from __future__ import annotations

import pytest
from helpers.run_ranks import require_mpi

from programs.generate import generate
from programs.mpi import outcomes_under_mpi
from programs.run import outcome_of
from programs.text import text_of

FIRST, COUNT, CHUNK = 1000, 60, 10


def ranks_of(seed: int) -> int:
    return 5 if seed % 20 == 7 else 2 + seed % 2


@pytest.mark.parametrize("first", range(FIRST, FIRST + COUNT, CHUNK))
def test_ranks_compute_what_one_process_does(first: int) -> None:
    verdicts = []
    for seed in range(first, first + CHUNK):
        program = generate(seed, ranks_of(seed))
        outcome = outcome_of(program)
        assert not outcome.is_failure, f"seed {seed}: {outcome.verdict}: {outcome.text}\n{text_of(program)}"
        verdicts.append(outcome.verdict)
    assert verdicts.count("equal") >= CHUNK - 2, verdicts


@pytest.mark.distributed
def test_ranks_under_mpirun_do_too() -> None:
    require_mpi()
    keys = [(seed, 3) for seed in range(FIRST, FIRST + 12) if max(generate(seed, 3).worlds) == 3]
    for (seed, ranks), outcome in outcomes_under_mpi(keys, 3, timeout=60):
        assert not outcome.is_failure, f"seed {seed}: {outcome}\n{text_of(generate(seed, ranks))}"
