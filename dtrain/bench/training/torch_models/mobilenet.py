"""MobileNetV2 in PyTorch: images [N, 3, H, W] to logits [N, num_classes]."""

from __future__ import annotations

from torch import Tensor, nn


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    ]


class InvertedResidual(nn.Module):  # type: ignore[misc]
    """1×1 to `expansion` times the channels, depthwise 3×3, 1×1 to `outputs`; a shortcut where shapes allow it."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.has_shortcut = stride == 1 and inputs == outputs
        self.branch = nn.Sequential(
            *(_convolution(inputs, hidden, 1) if expansion > 1 else ()),
            *_convolution(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x) if self.has_shortcut else self.branch(x)


def mobilenet_v2(num_classes: int = 10) -> nn.Sequential:
    """MobileNetV2 of width 1."""
    blocks: list[nn.Module] = []
    channels = 32
    for expansion, outputs, repeats, first_stride in (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    ):
        for index in range(repeats):
            blocks.append(InvertedResidual(channels, outputs, first_stride if index == 0 else 1, expansion))
            channels = outputs
    return nn.Sequential(
        *_convolution(3, 32, 3, 2),
        *blocks,
        *_convolution(channels, 1280, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(1280, num_classes),
    )
