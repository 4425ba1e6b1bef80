"""The models of `dtrain bench peer_step` in PyTorch compute what ours do."""

from __future__ import annotations

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
