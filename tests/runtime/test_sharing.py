"""Sharing: the same storages, lifetimes and copies as the slow definition, over random graphs and real steps."""

from __future__ import annotations

import numpy as np
import pytest
from runtime.random_graphs import make_graph
from runtime.slow_plan import SlowSharing

import dtrain as dt
import dtrain.functional as F
from dtrain import models
from dtrain.graph.graph import Graph, Value
from dtrain.runtime.sharing import share_storages
from dtrain.runtime.storage import Storage


def described(storage: dict[Value, Storage]) -> list[tuple]:
    """Of every value: which storage by number, whose it is, how large and how long it lives."""
    numbers: dict[Storage, int] = {}
    return [
        (numbers.setdefault(s, len(numbers)), s.place, s.position, s.nbytes, s.first, s.last) for s in storage.values()
    ]


def check(graph: Graph) -> None:
    shared, slow = share_storages(graph), SlowSharing(graph)
    assert list(shared.storage) == list(slow.storage)
    assert described(shared.storage) == described(slow.storage)
    assert shared.copied_updates == slow.copied_updates


@pytest.mark.parametrize("seed", range(150))
def test_random_graphs_share_as_the_definition_says(seed: int) -> None:
    check(make_graph(seed, num_nodes=5 + seed % 60))


@pytest.mark.parametrize("name", ["digits_cnn", "small_transformer"])
def test_a_training_step_shares_as_the_definition_says(name: str) -> None:
    model = models.create(name)
    optimizer = dt.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @dt.trace
    def step(x: dt.Tensor, labels: dt.Tensor) -> dt.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss

    shape = (4, 16) if name == "small_transformer" else (4, 1, 8, 8)
    step(dt.zeros(shape, dtype="s64" if name == "small_transformer" else "f32"), dt.tensor(np.arange(4)))
    check(step.graphs[0])
