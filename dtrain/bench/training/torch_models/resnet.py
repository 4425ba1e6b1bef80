"""Residual networks in PyTorch: images [N, 3, H, W] to logits [N, num_classes]."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]


class Residual(nn.Module):  # type: ignore[misc]
    """The ReLU of a branch plus its input, which goes through a 1×1 convolution where its shape is another."""

    def __init__(self, branch: nn.Module, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.branch = branch
        self.shortcut = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(*_convolution(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        y += self.shortcut(x)
        return F.relu(y, inplace=True)


def basic(inputs: int, width: int, stride: int) -> Residual:
    """Two 3×3 convolutions."""
    branch = nn.Sequential(
        *_convolution(inputs, width, 3, stride),
        nn.ReLU(inplace=True),
        *_convolution(width, width, 3),
    )
    return Residual(branch, inputs, width, stride)


def bottleneck(inputs: int, width: int, stride: int) -> Residual:
    """1×1 to `width` channels, 3×3 with the stride, 1×1 to four times as many."""
    branch = nn.Sequential(
        *_convolution(inputs, width, 1),
        nn.ReLU(inplace=True),
        *_convolution(width, width, 3, stride),
        nn.ReLU(inplace=True),
        *_convolution(width, 4 * width, 1),
    )
    return Residual(branch, inputs, 4 * width, stride)


def resnet18(num_classes: int = 10) -> nn.Sequential:
    """ResNet-18."""
    return _network(basic, 1, (2, 2, 2, 2), num_classes)


def resnet50(num_classes: int = 10) -> nn.Sequential:
    """ResNet-50."""
    return _network(bottleneck, 4, (3, 4, 6, 3), num_classes)


def _network(
    block: Callable[[int, int, int], nn.Module], expansion: int, depths: Sequence[int], num_classes: int
) -> nn.Sequential:
    """A block gives `expansion` times its width; all stages but the first halve the image."""
    blocks: list[nn.Module] = []
    channels = 64
    for width, depth in zip((64, 128, 256, 512), depths):
        for index in range(depth):
            blocks.append(block(channels, width, 2 if index == 0 and width > 64 else 1))
            channels = expansion * width
    return nn.Sequential(
        *_convolution(3, 64, 7, 2),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, 1),
        *blocks,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, num_classes),
    )
