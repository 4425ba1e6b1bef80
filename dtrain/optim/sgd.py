"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dtrain.base.errors import expected
from dtrain.core.apply import update
from dtrain.core.tensor import Parameter, Tensor
from dtrain.ops.optimizer import SGD_UPDATE
from dtrain.optim.optimizer import Optimizer, Parameters
from dtrain.optim.parameter_group import ParameterBatch, ParameterGroup


class SGD(Optimizer):
    """Gradient descent with momentum (Sutskever et al. 2013), in PyTorch's convention.

    g = grad + weight_decay·p; b = momentum·b + (1 − dampening)·g; p −= lr·(g + momentum·b if nesterov else b).
    Buffers begin as zeros, so with dampening the first step is dampened like every other.

    Args:
        params: parameters, or dicts with "params" and settings of their own.
        maximize: climb instead of descend.
    """

    def __init__(
        self,
        params: Parameters,
        lr: float,
        *,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        if not settings["momentum"] >= 0:
            raise ValueError(expected("SGD", "momentum of at least 0", repr(settings["momentum"])))
        if settings["nesterov"] and (settings["momentum"] == 0 or settings["dampening"] != 0):
            given = f"momentum={settings['momentum']}, dampening={settings['dampening']}"
            raise ValueError(expected("SGD", "momentum above 0 and dampening 0 with nesterov", given))

    def _names_for(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if settings["momentum"] else ()

    def _update(
        self, group: ParameterGroup, batch: ParameterBatch, parameters: Sequence[Parameter], inputs: Sequence[Tensor]
    ) -> None:
        update(
            SGD_UPDATE,
            batch.lr,
            *inputs,
            num_tensors=len(parameters),
            momentum=float(group["momentum"]),
            dampening=float(group["dampening"]),
            weight_decay=float(group["weight_decay"]),
            nesterov=bool(group["nesterov"]),
        )
