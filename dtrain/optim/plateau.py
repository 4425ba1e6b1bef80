"""A learning rate that falls when a measured number no longer improves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from dtrain.base.errors import expected
from dtrain.optim.lr_scheduler import LRScheduler
from dtrain.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """Multiply the rate by `factor` when `step(metric)` has seen no better metric for more than `patience` steps.

    Every rank must give the same metric (average it first), or the ranks' rates go apart.

    Args:
        mode: "min" or "max", what is better.
        threshold: how much better counts, as a share ("rel") or a difference ("abs").
        cooldown: steps after a change in which nothing is counted.
        min_lr: the lowest rate.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            given = f"{mode!r} and {threshold_mode!r}"
            raise ValueError(expected("ReduceLROnPlateau", "mode min or max, threshold_mode rel or abs", given))
        if not 0 < factor < 1:
            raise ValueError(expected("ReduceLROnPlateau", "factor in (0, 1)", repr(factor)))
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.min_lr = threshold, threshold_mode, cooldown, min_lr
        self.best: float | None = None
        self.num_bad = self.num_cooling = self.num_reductions = 0
        super().__init__(optimizer)

    def step(self, metric: Any = None) -> None:
        """Count one more metric, a number or a tensor of one element."""
        if metric is None:
            raise TypeError(expected("ReduceLROnPlateau.step", "the metric", "nothing", "write step(loss)"))
        value = float(metric)
        self.num_steps += 1
        if self.best is None or self._is_better(value, self.best):
            self.best, self.num_bad = value, 0
        else:
            self.num_bad += 1
        if self.num_cooling:
            self.num_cooling, self.num_bad = self.num_cooling - 1, 0
        if self.num_bad > self.patience:
            self.num_reductions, self.num_bad, self.num_cooling = self.num_reductions + 1, 0, self.cooldown
            self._set()

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        return max(float(base_lr * self.factor**self.num_reductions), min(self.min_lr, base_lr))

    def _is_better(self, value: float, best: float) -> bool:
        sign = 1 if self.mode == "max" else -1
        margin = abs(best) * self.threshold if self.threshold_mode == "rel" else self.threshold
        return sign * value > sign * best + margin

    def state_dict(self) -> dict[str, Any]:
        """How far the schedule is, and what it has seen."""
        seen = {name: getattr(self, name) for name in ("best", "num_bad", "num_cooling", "num_reductions")}
        return {**super().state_dict(), **seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict()` was taken."""
        for name in ("best", "num_bad", "num_cooling", "num_reductions"):
            setattr(self, name, state[name])
        super().load_state_dict(state)
