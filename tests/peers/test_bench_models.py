"""The models of `dtrain bench peer_step` in PyTorch compute what ours do; and a run of the benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dtrain[peers]'")

import dtrain as dt
import dtrain.functional as F
from dtrain.bench.training.torch_models import TORCH_MODELS, build_torch
from dtrain.bench.training.workloads import WORKLOADS

SIZES = {"mlp": (8, 8), "small_transformer": (4, 32)}  # of a batch and its samples; images (4, 64)


def without_dropout(model: Any) -> Any:
    """In f64, and in training as far as batch norm goes."""
    model.double().eval()
    for module in model.modules():
        if type(module).__name__ == "BatchNorm2d":
            module.train()
    return model


@pytest.mark.parametrize("name", TORCH_MODELS)
def test_twins_compute_the_same(name: str) -> None:
    workload = WORKLOADS[name]
    ours, theirs = without_dropout(workload.build()), without_dropout(build_torch(name))
    mine, others = list(ours.parameters()), list(theirs.parameters())
    assert [each.shape for each in mine] == [tuple(each.shape) for each in others]
    with torch.no_grad():
        for parameter, other in zip(mine, others):
            other.copy_(torch.from_numpy(parameter.detach().numpy()))
    inputs, labels = (tensor.numpy() for tensor in workload.batch(*SIZES.get(name, (4, 64)), seed=0))
    inputs = inputs.astype(np.float64) if workload.vocabulary_size is None else inputs
    loss = F.cross_entropy(ours(dt.as_tensor(inputs)), dt.as_tensor(labels))
    wanted = torch.nn.functional.cross_entropy(theirs(torch.from_numpy(inputs)), torch.from_numpy(labels))
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-9)
    loss.backward()
    wanted.backward()
    for parameter, other in zip(mine, others):
        difference = np.linalg.norm(parameter.grad.numpy() - other.grad.numpy())
        assert difference <= 1e-7 * np.linalg.norm(other.grad.numpy()) + 1e-12


@pytest.mark.parametrize("name", TORCH_MODELS)
def test_twins_drop_as_much(name: str) -> None:
    ours, theirs = (
        sorted(
            value
            for module in model.modules()
            for value in (getattr(module, "p", None), getattr(module, "dropout", None))
            if isinstance(value, float)
        )
        for model in (WORKLOADS[name].build(), build_torch(name))
    )
    assert ours == theirs


@pytest.mark.slow
def test_a_run_with_memory(tmp_path: Path) -> None:
    """In a process of its own, since threads are fixed before anything is imported."""
    written = tmp_path / "step.json"
    command = [sys.executable, "-m", "dtrain.cli", "bench", "peer_step", "--model", "mobilenet_v2", "--batch-size", "2"]
    command += ["--image-size", "32", "--memory", "--turns", "2", "--turn-seconds", "0.01", "-J", str(written)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = json.loads(written.read_text())
    names = ["dtrain traced", "dtrain eager", "PyTorch eager", "PyTorch channels-last"]
    assert [row["contestant"] for row in found["rows"]] == names
    assert all(line.startswith(name) for line, name in zip(done.stdout.splitlines()[2:], names))
    assert (found["batch_size"], found["size"]) == (2, 32) and found["memory"].startswith("VmHWM")
    for row in found["rows"]:
        assert row["peak_mib"] > 20
        assert row["speed_over_best_min"] <= row["speed_over_best"] <= row["speed_over_best_max"]
