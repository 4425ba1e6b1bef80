"""What a step costs in launches, which can be counted without a GPU: it may shrink, it must not grow unseen."""

from __future__ import annotations

import pytest
from dry_run import DryRun
from helpers.device_training import train

pytestmark = pytest.mark.dry_run

# Launches of kernels and calls of libraries of one traced step after the first; lower them when they shrink. One
# for each batch norm counts its batches, as PyTorch's does.
LIMITS = {
    "small": {"launches": 50, "library_calls": 5, "to_host": 2, "synchronizations": 2},
    "resnet18": {"launches": 796, "library_calls": 62, "to_host": 2, "synchronizations": 2},
}


@pytest.mark.parametrize("net", LIMITS)
def test_a_traced_step_launches_no_more_than_before(net: str, dry: DryRun) -> None:
    train(net, "sgd", "cuda:1", steps=1)  # what a process does once is not of a step
    counts = {}
    for steps in (1, 2):
        dry.reset()
        train(net, "sgd", "cuda:1", steps=steps)
        counts[steps] = dry.counts()
    step = {name: counts[2][name] - counts[1][name] for name in counts[1]}
    print(f"{net}: {step}")
    for name, limit in LIMITS[net].items():
        assert step[name] <= limit, f"{step[name]} {name} a step, {limit} before"
