"""The benchmark's models in PyTorch, as its users would write them. PyTorch is a peer, never a dependency.

Each has the sizes of its twin in `dtrain.models`, and its parameters in the same order.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# module:function; only what is asked for is imported, since all of them import PyTorch
TORCH_MODELS = {
    "mlp": "mlp:digits_mlp",
    "resnet18": "resnet:resnet18",
    "resnet50": "resnet:resnet50",
    "mobilenet_v2": "mobilenet:mobilenet_v2",
    "small_transformer": "transformer:small_transformer",
}


def build_torch(name: str) -> Any:
    """The model of this name in `WORKLOADS` as a `torch.nn.Module`."""
    module, _, function = TORCH_MODELS[name].partition(":")
    return getattr(import_module(f"dtrain.bench.training.torch_models.{module}"), function)()
