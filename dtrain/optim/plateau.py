"""A learning rate that falls when a measured number no longer improves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Literal

from dtrain.base.errors import expected
from dtrain.optim.lr_scheduler import LRScheduler
from dtrain.optim.optimizer import Optimizer


class ReduceLROnPlateau(LRScheduler):
    """Multiply the rate, whatever it is, by `factor` when no metric was better for more than `patience` steps.

    Every rank must give the same metric (average it first), or the ranks' rates go apart.

    Args:
        mode: "min" or "max", what is better.
        threshold: how much better counts, as a share ("rel") or a difference ("abs").
        cooldown: steps after a change in which nothing is counted.
        min_lr: the lowest rate, or one for each group.
        eps: a change of the rate of no more than this is not made.
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
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            given = f"{mode!r} and {threshold_mode!r}"
            raise ValueError(expected("ReduceLROnPlateau", "mode min or max, threshold_mode rel or abs", given))
        if not 0 < factor < 1:
            raise ValueError(expected("ReduceLROnPlateau", "factor in (0, 1)", repr(factor)))
        self.mode, self.factor, self.patience = mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        num_groups = len(optimizer.param_groups)
        self.min_lrs = [float(min_lr)] * num_groups if isinstance(min_lr, int | float) else [float(lr) for lr in min_lr]
        if len(self.min_lrs) != num_groups:
            given = str(len(self.min_lrs))
            raise ValueError(expected("ReduceLROnPlateau", f"a min_lr, or {num_groups}, one a group", given))
        self.best: float | None = None
        self.num_bad = self.num_cooling = self.num_reductions = 0
        super().__init__(optimizer)

    def step(self, metric: Any = None) -> None:
        """Count one more metric, a number or a tensor of one element."""
        if metric is None:
            raise TypeError(expected("ReduceLROnPlateau.step", "the metric", "nothing", "write step(loss)"))
        value = float(metric)
        self._take_up_groups()
        self.num_steps += 1
        if self._is_better(value):
            self.best, self.num_bad = value, 0
        else:
            self.num_bad += 1
        if self.num_cooling:
            self.num_cooling, self.num_bad = self.num_cooling - 1, 0
        if self.num_bad > self.patience:
            self.num_reductions, self.num_bad, self.num_cooling = self.num_reductions + 1, 0, self.cooldown
            for group, min_lr in zip(self.optimizer.param_groups, self.min_lrs):
                lr = max(group["lr"] * self.factor, min_lr)
                if group["lr"] - lr > self.eps:
                    group["lr"] = lr

    def _take_up_groups(self) -> None:
        for group in self.optimizer.param_groups[len(self.min_lrs) :]:
            if len(set(self.min_lrs)) > 1:
                wanted = f"a min_lr for each of {len(self.optimizer.param_groups)} groups"
                advice = "make it after add_param_group()"
                raise ValueError(expected("ReduceLROnPlateau", wanted, str(self.min_lrs), advice))
            self.base_lrs.append(float(group.setdefault("initial_lr", group["lr"])))
            self.scales.append(1.0)
            self.own_lrs.append(float(group["lr"]))
            self.min_lrs.append(self.min_lrs[0])

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        wanted = "to be stepped by itself, with the metric"
        raise TypeError(expected("ReduceLROnPlateau", wanted, "a schedule of schedules around it"))

    def _set(self) -> None:
        """A rate stays until a metric reduces it."""
        self.own_lrs = self.get_last_lr()

    def _is_better(self, value: float) -> bool:
        sign, best = 1 if self.mode == "max" else -1, self.best
        if best is None:  # NaN and the worst number there is are no improvement; nothing would be better than they
            return sign * value > -inf
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
        if "lrs" not in state:  # of before rates were saved: nobody else had changed them
            lowered = self.factor**self.num_reductions
            for group, base_lr, min_lr in zip(self.optimizer.param_groups, self.base_lrs, self.min_lrs):
                group["lr"] = max(base_lr * lowered, min(min_lr, base_lr))
