"""The base of the learning-rate schedulers: a formula of the step number, which `step()` writes into the groups.

Call `step()` outside of traced functions, after the optimizer's; whether it counts steps or epochs is up to the caller.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

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
