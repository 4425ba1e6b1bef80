"""Learning-rate schedules that are formulas of the step number, and sequences of them."""

from __future__ import annotations

import math
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from dtrain.base.errors import expected
from dtrain.optim.lr_scheduler import LRScheduler, at_least_one
from dtrain.optim.optimizer import Optimizer


class StepLR(LRScheduler):
    """lr = base · gammaᵏ, with k growing by one every `step_size` steps."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = at_least_one("StepLR", "step_size", step_size), gamma
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        return float(base_lr * self.gamma ** (step // self.step_size))


class MultiStepLR(LRScheduler):
    """lr = base · gammaᵏ, with k the number of milestones reached."""

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1) -> None:
        if not isinstance(milestones, Iterable):
            raise TypeError(expected("MultiStepLR", "a list of milestones", repr(milestones)))
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        return float(base_lr * self.gamma ** bisect_right(self.milestones, step))


class ExponentialLR(LRScheduler):
    """lr = base · gammaˢᵗᵉᵖ."""

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = gamma
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        return float(base_lr * self.gamma**step)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from base down to eta_min over `num_steps` steps, and up again after them (Loshchilov 2017)."""

    def __init__(self, optimizer: Optimizer, num_steps: int, eta_min: float = 0.0) -> None:
        self.period, self.eta_min = at_least_one("CosineAnnealingLR", "num_steps", num_steps), eta_min
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * step / self.period)) / 2


class LinearWarmup(LRScheduler):
    """From start_factor · base up to base in a straight line over `num_steps` steps, then `after`, counted from 0.

    Step 0 has the rate start_factor · base, a third of base by default as in PyTorch's LinearLR: from 0 the first
    step would change nothing. Step `num_steps` is the first with base itself.

    LinearWarmup(optimizer, 500, after=CosineAnnealingLR(optimizer, 10_000)). Only the outer one is stepped.
    """

    def __init__(
        self, optimizer: Optimizer, num_steps: int, *, start_factor: float = 1 / 3, after: LRScheduler | None = None
    ) -> None:
        if not 0 <= start_factor <= 1:
            raise ValueError(expected("LinearWarmup", "start_factor in [0, 1]", repr(start_factor)))
        self.warmup, self.start_factor, self.after = num_steps, start_factor, after
        if after is not None:
            after.withdraw()
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        if step < self.warmup:
            return base_lr * (self.start_factor + (1 - self.start_factor) * step / self.warmup)
        return base_lr if self.after is None else self.after.lr_at(step - self.warmup, base_lr, group)


class OneCycleLR(LRScheduler):
    """Up from max_lr/div_factor to max_lr over pct_start of the steps, then down to far below it (Smith 2018).

    The lowest rate, at the last of `total_steps`, is max_lr / (div_factor · final_div_factor).

    Args:
        cycle_momentum: False. PyTorch's lets momentum go down while the rate goes up, unless it is told not to. Here it
            stays, as each other value would be another graph of a traced step; who has not said False is warned.
    """

    is_absolute = True

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float,
        total_steps: int,
        *,
        pct_start: float = 0.3,
        anneal: Literal["cos", "linear"] = "cos",
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        cycle_momentum: bool | None = None,
    ) -> None:
        if cycle_momentum:
            advice = "momentum stays: write cycle_momentum=False, and set group['momentum'] where it shall change"
            raise ValueError(expected("OneCycleLR", "cycle_momentum=False", "True", advice))
        if cycle_momentum is None:
            warnings.warn(
                "OneCycleLR: momentum stays as it is, while PyTorch's goes down to 0.85 and up to 0.95 again; "
                "cycle_momentum=False says that this is meant",
                stacklevel=2,
            )
        if anneal not in ("cos", "linear"):
            raise ValueError(expected("OneCycleLR", "anneal cos or linear", repr(anneal)))
        self.total_steps = at_least_one("OneCycleLR", "total_steps", total_steps)
        self.max_lr, self.anneal = max_lr, anneal
        self.start, self.end = max_lr / div_factor, max_lr / div_factor / final_div_factor
        self.peak = pct_start * total_steps - 1
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        if step >= self.total_steps:
            raise ValueError(
                expected(
                    "OneCycleLR", f"at most {self.total_steps - 1} calls of step()", str(step), "raise total_steps"
                )
            )
        if step <= self.peak:
            return self._between(self.start, self.max_lr, step / self.peak if self.peak > 0 else 1.0)
        return self._between(self.max_lr, self.end, (step - self.peak) / (self.total_steps - 1 - self.peak))

    def _between(self, first: float, last: float, fraction: float) -> float:
        if self.anneal == "linear":
            return first + (last - first) * fraction
        return last + (first - last) * (1 + math.cos(math.pi * fraction)) / 2


class LambdaLR(LRScheduler):
    """lr = base · function(step), with one function for all groups or one for each."""

    is_absolute = True

    def __init__(
        self, optimizer: Optimizer, function: Callable[[int], float] | Sequence[Callable[[int], float]]
    ) -> None:
        num_groups = len(optimizer.param_groups)
        if not callable(function) and not isinstance(function, Sequence):
            raise TypeError(expected("LambdaLR", "a function of the step number, or one a group", repr(function)))
        self.functions = [function] * num_groups if callable(function) else list(function)
        if len(self.functions) != num_groups:
            raise ValueError(expected("LambdaLR", f"{num_groups} functions, one a group", str(len(self.functions))))
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        if group >= len(self.functions):  # in a schedule of schedules; alone it leaves added groups alone
            given = f"{len(self.functions)}, and a group that was added later"
            raise ValueError(
                expected("LambdaLR", "a function for every group", given, "make it after add_param_group()")
            )
        return base_lr * self.functions[group](step)


class LinearLR(LRScheduler):
    """From start_factor · base to end_factor · base in a straight line over `num_steps` steps, then there."""

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, num_steps: int = 5
    ) -> None:
        self.start_factor, self.end_factor = start_factor, end_factor
        self.length = at_least_one("LinearLR", "num_steps", num_steps)
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        share = min(step, self.length) / self.length
        return base_lr * (self.start_factor + (self.end_factor - self.start_factor) * share)


class ConstantLR(LRScheduler):
    """factor · base for `num_steps` steps, then base."""

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, num_steps: int = 5) -> None:
        self.factor, self.length = factor, num_steps
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        return base_lr * self.factor if step < self.length else base_lr


class PolynomialLR(LRScheduler):
    """base · (1 − step / num_steps)^power, and 0 from step `num_steps` on."""

    def __init__(self, optimizer: Optimizer, num_steps: int = 5, power: float = 1.0) -> None:
        self.length, self.power = at_least_one("PolynomialLR", "num_steps", num_steps), power
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        return float(base_lr * (1 - min(step, self.length) / self.length) ** self.power)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine from base down to eta_min, again and again, each T_mult times as long (Loshchilov, Hutter 2017).

    Args:
        T_0: steps of the first.
    """

    is_absolute = True

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> None:
        self.first = at_least_one("CosineAnnealingWarmRestarts", "T_0", T_0)
        self.growth = at_least_one("CosineAnnealingWarmRestarts", "T_mult", T_mult)
        self.eta_min = eta_min
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        length = self.first
        while step >= length:
            step, length = step - length, length * self.growth
        return self.eta_min + (base_lr - self.eta_min) * (1 + math.cos(math.pi * step / length)) / 2


class SequentialLR(LRScheduler):
    """Schedules one after another, each counted from 0 at its milestone. Only this one is stepped."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]) -> None:
        if len(schedulers) != len(milestones) + 1 or list(milestones) != sorted(milestones):
            given = f"{len(schedulers)} and {list(milestones)}"
            raise ValueError(expected("SequentialLR", "one schedule more than rising milestones", given))
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        _withdraw(self.schedulers)
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        number = bisect_right(self.milestones, step)
        begin = self.milestones[number - 1] if number else 0
        return self.schedulers[number].lr_at(step - begin, base_lr, group)


class ChainedScheduler(LRScheduler):
    """Schedules side by side: the factors by which they change the base rate multiply. Only this one is stepped.

    Args:
        optimizer: theirs; need not be given.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        self.schedulers = list(schedulers)
        optimizers = {id(scheduler.optimizer) for scheduler in self.schedulers}
        if optimizer is not None:
            optimizers.add(id(optimizer))
        if len(optimizers) != 1:
            given = f"{len(self.schedulers)} schedules of {len(optimizers)} optimizers"
            raise ValueError(expected("ChainedScheduler", "schedules of one optimizer", given))
        _withdraw(self.schedulers)
        super().__init__(self.schedulers[0].optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        factors = (scheduler.lr_at(step, base_lr, group) / base_lr for scheduler in self.schedulers)
        return base_lr * math.prod(factors) if base_lr else 0.0


def _withdraw(schedulers: Sequence[LRScheduler]) -> None:
    for scheduler in reversed(schedulers):
        scheduler.withdraw()
