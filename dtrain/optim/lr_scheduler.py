"""Learning-rate schedulers: each a formula of the step number, written into the optimizer's groups by `step()`.

Call `step()` outside of traced functions, after the optimizer's; whether it counts steps or epochs is up to the caller.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from dtrain.base.errors import expected
from dtrain.optim.optimizer import Optimizer


class LRScheduler(ABC):
    """Base of the schedulers: sets the learning rate for step 0 when made, and for the next step at each `step()`."""

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(expected(type(self).__name__, "an Optimizer", type(optimizer).__name__))
        self.optimizer = optimizer
        # Kept in the group, so that a scheduler made for a resumed optimizer starts from the same numbers.
        self.base_lrs = [float(group.setdefault("initial_lr", group["lr"])) for group in optimizer.param_groups]
        self.num_steps = 0
        self._set()

    @abstractmethod
    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        """The learning rate of a group at `step`, counted from 0, when the optimizer was made with `base_lr`."""

    def step(self) -> None:
        """Go on to the next step's learning rate."""
        self.num_steps += 1
        self._set()

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group now."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def __repr__(self) -> str:
        hidden = ("optimizer", "base_lrs", "num_steps")
        settings = [f"{name}={_shown(value)}" for name, value in vars(self).items() if name not in hidden]
        lrs = ", ".join(f"{lr:.6g}" for lr in self.get_last_lr())
        return f"{type(self).__name__}({', '.join([*settings, f'at step {self.num_steps}', f'lr {lrs}'])})"

    def state_dict(self) -> dict[str, Any]:
        """How far the scheduler is."""
        return {"num_steps": self.num_steps, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict()` was taken."""
        if len(state["base_lrs"]) != len(self.base_lrs):
            given = str(len(state["base_lrs"]))
            raise ValueError(expected(type(self).__name__, f"a state of {len(self.base_lrs)} groups", given))
        num_steps, base_lrs = int(state["num_steps"]), [float(lr) for lr in state["base_lrs"]]
        if num_steps < 0 or num_steps != state["num_steps"] or not all(0 <= lr < math.inf for lr in base_lrs):
            given = f"{state['num_steps']!r:.40} and {base_lrs}"
            raise ValueError(expected(type(self).__name__, "a number of steps and base rates of at least 0", given))
        self.num_steps, self.base_lrs = num_steps, base_lrs
        self._set()

    def _set(self) -> None:
        for index, (group, base_lr) in enumerate(zip(self.optimizer.param_groups, self.base_lrs)):
            group["lr"] = self.lr_at(self.num_steps, base_lr, index)


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
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        if step < self.warmup:
            return base_lr * (self.start_factor + (1 - self.start_factor) * step / self.warmup)
        return base_lr if self.after is None else self.after.lr_at(step - self.warmup, base_lr, group)


class OneCycleLR(LRScheduler):
    """Up from max_lr/div_factor to max_lr over pct_start of the steps, then down to far below it (Smith 2018).

    The lowest rate, at the last of `total_steps`, is max_lr / (div_factor · final_div_factor). Momentum stays.
    """

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
    ) -> None:
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

    def __init__(
        self, optimizer: Optimizer, function: Callable[[int], float] | Sequence[Callable[[int], float]]
    ) -> None:
        num_groups = len(optimizer.param_groups)
        self.functions = [function] * num_groups if callable(function) else list(function)
        if len(self.functions) != num_groups:
            raise ValueError(expected("LambdaLR", f"{num_groups} functions, one a group", str(len(self.functions))))
        super().__init__(optimizer)

    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        return base_lr * self.functions[group](step)


def _shown(value: Any) -> str:
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    if isinstance(value, list) and value and all(map(callable, value)):
        return f"[{', '.join(map(_shown, value))}]"
    return repr(value)


def at_least_one(where: str, name: str, value: int) -> int:
    """The number itself. Raises ValueError below 1."""
    if value < 1:
        raise ValueError(expected(where, f"{name} of at least 1", repr(value)))
    return value


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        # `optim.lr_scheduler` is where PyTorch has all schedules.
        optim = sys.modules["dtrain.optim"]
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(optim, name)
