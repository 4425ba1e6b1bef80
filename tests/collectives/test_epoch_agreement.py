"""Ranks that go through different data are found; peeks and early ends are not."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.run_ranks import mpi_environment

from dtrain import collectives as dist
from dtrain import data
from dtrain.collectives.training import epoch_agreement


class Channel:
    """Takes what is sent as the server does: the first one of a group and position counts."""

    def __init__(self) -> None:
        self.first: dict[tuple[str, int], str] = {}
        self.mismatches: list[tuple[str, str]] = []

    def send_schedule(self, group: str, position: int, digest: str, text: str) -> None:
        first = self.first.setdefault((group, position), text)
        if first != text:
            self.mismatches.append((first, text))


def mismatches(size: int, body: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    channel = Channel()
    monkeypatch.setattr(epoch_agreement, "control_client", lambda: channel)

    def program(communicator: Any) -> None:
        monkeypatch.setenv("DTRAIN_WORLD_SIZE", str(size))
        with dist.using(communicator):
            body(communicator.rank, communicator)

    dist.run_threads(size, program)
    assert channel.first
    return channel.mismatches


def loader(rank: int, size: int, *, length: int = 12, **options: Any) -> data.DataLoader:
    made = data.DataLoader(data.ArrayDataset(np.arange(length)), 2, shuffle=True, shard=(rank, size), **options)
    made._is_shared_out = True  # as with shard=True in a rank of its own process
    return made


def train(made: data.DataLoader, communicator: Any, num_batches: int | None = None) -> None:
    for _ in itertools.islice(made, num_batches):
        communicator.all_reduce(np.ones(1, np.float32))


@pytest.mark.parametrize("size", [2, 3])
def test_equal_ranks_peeks_and_early_ends_agree(size, monkeypatch):
    def body(rank: int, communicator: Any) -> None:
        made, other = loader(rank, size), loader(rank, size, seed=4)
        if rank == 0:
            next(iter(made))
        for _ in range(2):
            train(made, communicator)
            train(other, communicator)
            if rank == 1:
                next(iter(made))
        train(made, communicator, 1)
        train(made, communicator)
        made.set_epoch(7)
        train(made, communicator)
        if rank == 0:
            list(loader(rank, size, length=5))  # of one rank alone, and nobody's training

    assert mismatches(size, body, monkeypatch) == []


@pytest.mark.parametrize("size", [2, 3])
def test_a_rank_that_went_through_an_epoch_alone_is_found(size, monkeypatch):
    def body(rank: int, communicator: Any) -> None:
        made = loader(rank, size)
        if rank == size - 1:
            list(made)
        train(made, communicator)
        train(made, communicator)

    found = mismatches(size, body, monkeypatch)
    assert found and "without collectives" in "".join(found[0]) and "with collectives" in "".join(found[0])


def test_who_goes_back_after_an_epoch_alone_is_with_the_others(monkeypatch):
    def body(rank: int, communicator: Any) -> None:
        made = loader(rank, 2)
        if rank == 0:
            list(made)
            made.epoch = 0
        for _ in range(3):
            train(made, communicator)

    assert mismatches(2, body, monkeypatch) == []


@pytest.mark.parametrize(
    "options",
    [{"seed": [0, 1]}, {"drop_last": [True, False]}, {"num_samples": [0, 4]}],
    ids=["seed", "drop_last", "place"],
)
def test_different_settings_are_found(options, monkeypatch):
    ((name, values),) = options.items()

    def body(rank: int, communicator: Any) -> None:
        made = loader(rank, 2, **({} if name == "num_samples" else {name: values[rank]}))
        if name == "num_samples":
            made.load_state_dict({**made.state_dict(), name: values[rank]})
        next(iter(made))

    assert len(mismatches(2, body, monkeypatch)) == 1


SCRIPT = """
import numpy as np
from dtrain import collectives as dist, data
world = dist.init()
loader = data.DataLoader(data.ArrayDataset(np.arange(8)), 2, shuffle=True, shard=True, seed=world.rank)
for batch in loader:
    dist.all_reduce(batch.sum())
    world.barrier()
for _ in range(100):
    world.barrier()
    __import__("time").sleep(0.05)
"""


@pytest.mark.distributed
def test_the_job_ends_with_a_verdict(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "dtrain.cli", "run", "-np", "2", "script.py"]
    environment = {**mpi_environment(), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 120, done.stdout + done.stderr
    assert "data loader 1 of 8 samples" in done.stderr and "seed=1" in done.stderr
