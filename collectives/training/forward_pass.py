"""One call of a data-parallel model, and how much its mean counts in the mean over all ranks.

A rank's gradients are those of its own loss, the mean over its own samples: nothing is multiplied by their number. The
weight n of the pass comes in where gradients of several ranks meet:

    parameters         Σ uᵣ·gᵣ / Σ nᵣ                        a weighted mean of the communicator
    sums of sync-BN    Σ uₛ·xₛ / uᵣ on rank r                the sum in the unit of the rank's own gradients

The unit u is n, but for one case: through sync-BN the losses of other ranks depend on the samples of a rank whose own
weight is 0 (all its pixels are to be ignored, say). Its gradients then have the unit 1, and nothing of its own loss.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np

from dtrain.base.device import Device
from dtrain.core.tensor import Parameter, Tensor, as_tensor
from dtrain.core.tensor_factory import zeros_like
from dtrain.functional import stack, where


class ForwardPass:
    """How much one forward pass counts.

    Attributes:
        weight: n; a 0-d f64 tensor where a traced function works it out.
        has_samples: whether the rank's batch has any.
        group: the ranks that take part.
        parameters: whose gradients this pass averages.
        has_sync_bn: whether sync-BN took part.
        went_into: passes that took outputs of this one.
    """

    def __init__(
        self, weight: float | Tensor, *, has_samples: bool, group: str, parameters: Iterable[Parameter] = ()
    ) -> None:
        self.weight = weight
        self.has_samples = has_samples
        self.group = group
        self.parameters = frozenset(parameters)
        self.has_sync_bn = False
        self.went_into: list[ForwardPass] = []

    @property
    def is_coupled(self) -> bool:
        """Whether losses of other ranks depend on this rank's samples."""
        return self.has_sync_bn or any(later.is_coupled for later in self.went_into)

    @property
    def _unit_of_zero(self) -> float:
        return 1.0 if self.is_coupled and self.has_samples else 0.0

    def unit_and_weight(self, device: Device) -> Tensor:
        """[u, n] as f64 on a device."""
        weight = self.weight
        if isinstance(weight, Tensor):
            unit = where(weight > 0, weight, self._unit_of_zero)
            return stack([unit, weight]).to(device)
        return as_tensor(np.array([weight if weight > 0 else self._unit_of_zero, weight])).to(device)

    def silence(self, gradient: Tensor) -> Tensor:
        """The gradient of an output of the model; zeros where the rank's own loss counts for nothing."""
        if not self.is_coupled:
            return gradient  # whatever it is, the weight 0 takes it out where gradients meet
        if isinstance(self.weight, Tensor):
            return where(self.weight > 0, gradient, zeros_like(gradient))
        return gradient if self.weight > 0 else zeros_like(gradient)


class _Passes(threading.local):
    """The passes that this thread is inside of, outermost first."""

    def __init__(self) -> None:
        self.entered: list[ForwardPass] = []
        self.models: list[object] = []  # whose calls it is inside of


_passes = _Passes()


@contextmanager
def entered(forward_pass: ForwardPass) -> Iterator[None]:
    """Inside, `current_pass` is this one."""
    _passes.entered.append(forward_pass)
    try:
        yield
    finally:
        _passes.entered.pop()


def averaged_by_passes(group: str) -> frozenset[Parameter]:
    """The parameters that a pass which this thread is inside of averages over a group already."""
    return frozenset().union(*(inside.parameters for inside in _passes.entered if inside.group == group))


def current_pass() -> ForwardPass | None:
    """The innermost pass of a data-parallel model that this thread is inside of."""
    return _passes.entered[-1] if _passes.entered else None


@contextmanager
def calling(model: object) -> Iterator[None]:
    """Inside, what the layers of a model do is a part of this call of it."""
    _passes.models.append(model)
    try:
        yield
    finally:
        _passes.models.pop()


def is_calling(model: object) -> bool:
    """Whether this thread is inside of a call of a model."""
    models = _passes.models  # of one object each, almost always: every layer asks
    return bool(models) and (models[-1] is model or model in models)
