"""The digits networks reach what they are for."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.model_training import check_training

import dtrain as dt
import dtrain.functional as F
from dtrain import data, optim
from dtrain.core.random import seed
from dtrain.models.digits import digits_cnn, digits_mlp


@pytest.mark.parametrize("make", [digits_mlp, digits_cnn])
def test_eager_and_traced_agree(make):
    part = data.Digits()
    check_training(make, part.images[:64], part.labels[:64], steps=20, lr=0.1)


@pytest.mark.parametrize(("make", "wanted", "epochs"), [(digits_cnn, 0.97, 5), (digits_mlp, 0.95, 10)])
def test_held_out_accuracy(make, wanted, epochs):
    seed(0)
    model = make()
    loader = data.DataLoader(data.Digits(), 64, shuffle=True)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
    schedule = optim.CosineAnnealingLR(optimizer, epochs * len(loader))

    @dt.trace
    def step(images, labels):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(epochs):
        for images, labels in loader:
            step(images, labels)
            schedule.step()
    assert len(step.graphs) == 2, "one for full batches, one for the last"
    held_out = data.Digits(train=False)
    model.eval()
    with dt.no_grad():
        predicted = model(dt.tensor(held_out.images)).numpy().argmax(1)
    accuracy = np.mean(predicted == held_out.labels)
    assert accuracy >= wanted
