"""Models ready to train: residual networks, MobileNetV2, a small Transformer, and two networks for the digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dtrain.base.errors import expected
from dtrain.models.digits import digits_cnn as digits_cnn
from dtrain.models.digits import digits_mlp as digits_mlp
from dtrain.models.mobilenet import MobileNetV2 as MobileNetV2
from dtrain.models.mobilenet import mobilenet_v2 as mobilenet_v2
from dtrain.models.resnet import ResNet as ResNet
from dtrain.models.resnet import resnet18 as resnet18
from dtrain.models.resnet import resnet50 as resnet50
from dtrain.models.transformer import TransformerClassifier as TransformerClassifier
from dtrain.models.transformer import small_transformer as small_transformer
from dtrain.nn import Module

MODELS: dict[str, Callable[..., Module]] = {
    function.__name__: function
    for function in (resnet18, resnet50, mobilenet_v2, small_transformer, digits_mlp, digits_cnn)
}


def create(name: str, **options: Any) -> Module:
    """The model of this name, for command lines. Raises ValueError that lists the names."""
    if name not in MODELS:
        raise ValueError(expected("model", f"one of {', '.join(MODELS)}", repr(name)))
    return MODELS[name](**options)
