"""Settings of optimizers and schedules that are of another kind are refused in words; closures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import dtrain as dt
from dtrain import nn, optim


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(dt.tensor([1.0]))]


def sgd() -> optim.SGD:
    return optim.SGD(parameters(), lr=0.1)


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "lr": (lambda: optim.SGD(parameters(), lr="0.1"), "SGD: expected lr of at least 0, got '0.1' of type str"),  # type: ignore[arg-type]
    "decay": (
        lambda: optim.Adam(parameters(), weight_decay=None),
        "Adam: expected weight_decay of at least 0, got None",
    ),  # type: ignore[arg-type]
    "momentum": (lambda: optim.SGD(parameters(), 0.1, momentum=[0.9]), "SGD: expected momentum of at least 0, got"),  # type: ignore[arg-type]
    "eps": (lambda: optim.AdamW(parameters(), eps="1e-8"), "AdamW: expected eps of at least 0, got '1e-8'"),  # type: ignore[arg-type]
    "betas": (lambda: optim.Adam(parameters(), betas=0.9), r"Adam: expected two betas in \[0, 1\), got 0.9"),  # type: ignore[arg-type]
    "parameters": (lambda: optim.SGD(None, lr=0.1), "SGD: expected parameters, got None"),  # type: ignore[arg-type]
    "milestones": (lambda: optim.MultiStepLR(sgd(), 3), "MultiStepLR: expected a list of milestones, got 3"),  # type: ignore[arg-type]
    "function": (lambda: optim.LambdaLR(sgd(), 0.5), "LambdaLR: expected a function of the step number, .*got 0.5"),  # type: ignore[arg-type]
    "padding": (lambda: nn.Embedding(3, 2, padding_idx=3), r"Embedding: expected padding_idx in \[-3, 3\), got 3"),
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_of_another_kind_are_refused(name: str) -> None:
    call, text = WRONG[name]
    with pytest.raises((TypeError, ValueError), match=text):
        call()


def test_a_step_takes_a_closure_and_gives_its_loss() -> None:
    (parameter,) = held = parameters()
    optimizer = optim.SGD(held, lr=0.5)

    def closure() -> dt.Tensor:
        optimizer.zero_grad()
        loss = (parameter * parameter).sum()
        loss.backward()
        return loss

    with dt.no_grad():
        assert optimizer.step(closure).item() == 1.0
    assert parameter.tolist() == [0.0] and optimizer.step() is None


def test_adam_takes_its_settings_by_position() -> None:
    group = optim.Adam(parameters(), 0.1, (0.9, 0.99), 1e-6, 0.1, True).param_groups[0]  # type: ignore[misc]
    assert group["amsgrad"] is True and group["weight_decay"] == 0.1


def test_ranks_of_other_shapes_are_no_pairs() -> None:
    a = dt.zeros(3)
    for b, target in ((dt.zeros(3, 1), a), (a, dt.zeros(3, 1))):
        with pytest.raises(ValueError, match="margin_ranking_loss: expected as many axes in each, got f32"):
            dt.functional.margin_ranking_loss(a, b, target)
