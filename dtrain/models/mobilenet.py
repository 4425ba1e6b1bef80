"""MobileNetV2 (Sandler et al. 2018) for images [N, 3, H, W]."""

from __future__ import annotations

import dtrain.functional as F
from dtrain import nn
from dtrain.core.tensor import Tensor

# Expansion, channels, repeats and first stride of each stage: table 2 of the paper.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """1×1 to more channels, depthwise 3×3, 1×1 to fewer without activation; a shortcut where shapes allow it."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        hidden = in_channels * expansion
        self.has_shortcut = stride == 1 and in_channels == out_channels
        expand = [] if expansion == 1 else [conv_norm_activation(in_channels, hidden, 1)]
        self.conv = nn.Sequential(
            *expand,
            conv_norm_activation(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.has_shortcut else y


class MobileNetV2(nn.Module):
    """A stem, seven stages of inverted residuals, a 1×1 convolution and a linear classifier.

    Args:
        width: factor on the number of channels, which are then rounded to multiples of 8.
    """

    def __init__(
        self, num_classes: int = 1000, *, width: float = 1.0, dropout: float = 0.2, in_channels: int = 3
    ) -> None:
        channels = round_channels(32 * width)
        layers: list[nn.Module] = [conv_norm_activation(in_channels, channels, 3, 2)]
        for expansion, base, repeats, first_stride in _STAGES:
            for index in range(repeats):
                stride = first_stride if index == 0 else 1
                layers.append(InvertedResidual(channels, round_channels(base * width), stride, expansion))
                channels = round_channels(base * width)
        last = round_channels(1280 * max(1.0, width))
        layers.append(conv_norm_activation(channels, last, 1))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = F.flatten(F.adaptive_avg_pool2d(self.features(x), 1), 1)
        return self.classifier(x)  # type: ignore[no-any-return]


def mobilenet_v2(
    num_classes: int = 1000, *, width: float = 1.0, dropout: float = 0.2, in_channels: int = 3
) -> MobileNetV2:
    """MobileNetV2: 3.5 million numbers in 158 parameters for 1000 classes at width 1."""
    return MobileNetV2(num_classes, width=width, dropout=dropout, in_channels=in_channels)


def conv_norm_activation(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, *, groups: int = 1
) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU6; the image keeps its size up to the stride."""
    padding = (kernel_size - 1) // 2
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(),
    )


def round_channels(channels: float, multiple: int = 8) -> int:
    """The nearest multiple, but never less than nine tenths of `channels`."""
    rounded = max(multiple, int(channels + multiple / 2) // multiple * multiple)
    return rounded if rounded >= 0.9 * channels else rounded + multiple
