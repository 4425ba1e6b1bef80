"""A training script in which one rank misbehaves as told: `faulty_training.py FAULT RANK PID_FOLDER`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain import nn, optim


def main(fault: str, culprit: int, folder: str) -> None:
    world = dist.init()
    Path(folder, f"pid.{world.rank}").write_text(str(os.getpid()))
    is_culprit = world.rank == culprit
    dt.seed(0)
    model = dist.data_parallel(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)))
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    @dt.trace
    def step(x: dt.Tensor, target: dt.Tensor) -> dt.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), target)
        if fault == "extra collective" and is_culprit:
            loss = dist.all_reduce(loss)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss

    rng = np.random.default_rng(world.rank)
    for number in range(10_000):
        # A batch size of its own for one rank is no fault.
        batch = 4 + (number % 3 if world.rank == 0 else 0)
        step(dt.tensor(rng.standard_normal((batch, 6), dtype=np.float32)), dt.tensor(rng.integers(0, 3, batch)))
        if number == 50:
            Path(folder, f"at50.{world.rank}").touch()
            if is_culprit and fault == "raise":
                raise RuntimeError("planned failure of one rank")
            if is_culprit and fault == "kill":
                Path(folder, "killed_at").write_text(repr(time.time()))
                os.kill(os.getpid(), signal.SIGKILL)
        if fault == "none" and number == 200:
            return


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
