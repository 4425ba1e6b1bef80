"""Stochastic gradient descent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dtrain.functional as F
from dtrain.base.errors import expected
from dtrain.core.apply import update
from dtrain.core.context import no_grad
from dtrain.core.tensor import Parameter, Tensor
from dtrain.opset.optimizer import SGD_UPDATE
from dtrain.optim.optimizer import Optimizer, Parameters
from dtrain.optim.parameter_group import ParameterBatch, ParameterGroup


class SGD(Optimizer):
    """Gradient descent with momentum (Sutskever et al. 2013), in PyTorch's convention.

    g = grad + weight_decay·p; b = momentum·b + (1 − dampening)·g; p −= lr·(g + momentum·b if nesterov else b).
    The first step of a parameter is not dampened: b = g.

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

    @property
    def counts_steps(self) -> bool:
        return any(group["momentum"] and group["dampening"] for group in self.param_groups)

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        self._check_numbers(settings, "momentum")
        if settings["nesterov"] and (settings["momentum"] == 0 or settings["dampening"] != 0):
            given = f"momentum={settings['momentum']}, dampening={settings['dampening']}"
            raise ValueError(expected("SGD", "momentum above 0 and dampening 0 with nesterov", given))

    def _names_for(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if settings["momentum"] else ()

    def _update(
        self, group: ParameterGroup, batch: ParameterBatch, parameters: Sequence[Parameter], inputs: Sequence[Tensor]
    ) -> None:
        if group["momentum"] and group["dampening"]:
            _begin_undampened(group, batch, inputs, len(parameters))
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


@no_grad()
def _begin_undampened(group: ParameterGroup, batch: ParameterBatch, inputs: Sequence[Tensor], count: int) -> None:
    """Before the first step the buffers become (dampening / momentum) · g, from which the formula makes b = g.

    Only dampened steps are counted: a buffer that is not 0 has seen others.
    """
    parameters, gradients, buffers = inputs[:count], inputs[count : 2 * count], inputs[2 * count :]
    is_first = batch.step == 0
    for parameter, gradient, buffer in zip(parameters, gradients, buffers):
        direction = gradient + group["weight_decay"] * parameter
        begun = direction * (group["dampening"] / group["momentum"])
        buffer.assign_(F.where(is_first & F.all(buffer == 0), begun, buffer))
    batch.step.assign_(batch.step + 1)
