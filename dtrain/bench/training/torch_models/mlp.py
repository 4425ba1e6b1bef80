"""The digits MLP in PyTorch: images [N, 1, 8, 8] to logits [N, 10]."""

from __future__ import annotations

from torch import nn


def digits_mlp(hidden: int = 128) -> nn.Sequential:
    """64 – hidden – hidden – 10."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, 10),
    )
