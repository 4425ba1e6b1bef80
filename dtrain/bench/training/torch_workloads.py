"""The benchmark's models in PyTorch, as its users would write them. PyTorch is a peer, never a dependency."""

from __future__ import annotations

from typing import Any


def build_torch(name: str) -> Any:
    """`mlp` or `resnet18` as a `torch.nn.Module` with the sizes of `dtrain.models`."""
    return {"mlp": _mlp, "resnet18": _resnet18}[name]()


def _mlp() -> Any:
    from torch import nn

    from dtrain import models

    sizes = [parameter.shape for _, parameter in models.digits_mlp().named_parameters() if parameter.ndim == 2]
    layers: list[Any] = [nn.Flatten()]
    for position, (outputs, inputs) in enumerate(sizes):
        layers += [nn.ReLU()] if position else []
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)


def _resnet18() -> Any:
    from torch import nn

    class Block(nn.Module):  # type: ignore[misc]
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.main = nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
                nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )
            self.shortcut = nn.Identity()
            if stride != 1 or inputs != outputs:
                self.shortcut = nn.Sequential(
                    nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
                )

        def forward(self, x: Any) -> Any:
            return nn.functional.relu(self.main(x) + self.shortcut(x))

    stages: list[Any] = []
    inputs = 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        stages += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, 2, 3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
        *stages,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(512, 10),
    )
