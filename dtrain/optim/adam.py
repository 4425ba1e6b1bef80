"""Adam and AdamW."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dtrain.base.errors import expected
from dtrain.core.apply import update
from dtrain.core.tensor import Parameter, Tensor
from dtrain.opset.optimizer import ADAM_UPDATE
from dtrain.optim.optimizer import Optimizer, Parameters
from dtrain.optim.parameter_group import ParameterBatch, ParameterGroup


class Adam(Optimizer):
    """Adam (Kingma, Ba 2015): steps scaled by running averages m of the gradient and v of its square.

    m = β1·m + (1 − β1)·g; v = β2·v + (1 − β2)·g²; p −= lr/(1 − β1ᵗ) · m / (√v/√(1 − β2ᵗ) + eps).
    weight_decay·p is added to the gradient. t counts the updates of each parameter. With `amsgrad` the largest v so far
    stands in the place of v (Reddi et al. 2018).
    """

    state_names = ("exp_avg", "exp_avg_sq")
    decoupled = False

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
        }
        super().__init__(params, defaults)

    @property
    def counts_steps(self) -> bool:
        return True

    def _check(self, settings: Mapping[str, Any]) -> None:
        super()._check(settings)
        betas = settings["betas"]
        if not (isinstance(betas, Sequence) and len(betas) == 2 and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(expected(type(self).__name__, "two betas in [0, 1)", repr(betas)))
        self._check_numbers(settings, "eps")

    def _names_for(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        return (*self.state_names, "max_exp_avg_sq") if settings["amsgrad"] else self.state_names

    def _update(
        self, group: ParameterGroup, batch: ParameterBatch, parameters: Sequence[Parameter], inputs: Sequence[Tensor]
    ) -> None:
        beta1, beta2 = group["betas"]
        update(
            ADAM_UPDATE,
            batch.lr,
            batch.step,
            *inputs,
            num_tensors=len(parameters),
            beta1=float(beta1),
            beta2=float(beta2),
            eps=float(group["eps"]),
            weight_decay=float(group["weight_decay"]),
            decoupled=self.decoupled,
            **({"amsgrad": True} if group["amsgrad"] else {}),
        )


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov, Hutter 2019): parameters shrink by lr·weight_decay first."""

    decoupled = True

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad, maximize=maximize
        )
