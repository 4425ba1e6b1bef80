"""Networks for the bundled digits: images [N, 1, 8, 8], ten classes."""

from __future__ import annotations

from dtrain import nn


def digits_mlp(hidden: int = 128) -> nn.Sequential:
    """64 – hidden – hidden – 10 with ReLU."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, 10),
    )


def digits_cnn(width: int = 16) -> nn.Sequential:
    """Three 3×3 convolutions with batch norm, pooling from 8×8 to 2×2, and a linear classifier."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * width, 10),
    )
