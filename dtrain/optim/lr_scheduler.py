"""The base of the learning-rate schedulers: a formula of the step number, which `step()` writes into the groups.

Call `step()` outside of traced functions, after the optimizer's; whether it counts steps or epochs is up to the caller.
"""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from dtrain.base.errors import expected
from dtrain.optim.optimizer import Optimizer


class LRScheduler(ABC):
    """Base of the schedulers: sets the learning rate for step 0 when made, and for the next step at each `step()`.

    Rates that somebody else changes in between, another schedule of the same optimizer or the user, are scaled from
    there on: the factors of schedules that are stepped side by side multiply. So is the rate of a group that was added
    to the optimizer later, and one that is given to a group which was made with 0.
    """

    # The formula alone says the rate, whatever it was: LambdaLR and those that begin and end at rates of their own.
    is_absolute: ClassVar[bool] = False

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(expected(type(self).__name__, "an Optimizer", type(optimizer).__name__))
        self.optimizer = optimizer
        # Kept in the group, so that a scheduler made for a resumed optimizer starts from the same numbers.
        self.base_lrs = [float(group.setdefault("initial_lr", group["lr"])) for group in optimizer.param_groups]
        self.num_steps = 0
        self.own_lrs: list[float] = []  # as this schedule has set them last
        groups = optimizer.param_groups
        self._before = [(float(group["lr"]), group.is_scheduled) for group in groups]
        # Only a schedule of this very optimizer has scaled the rate; that of a resumed one is set anew.
        self.scales = [
            lr / base if is_scheduled and base else 1.0 for (lr, is_scheduled), base in zip(self._before, self.base_lrs)
        ]
        for group in groups:
            group.is_scheduled = True
        self._set()

    @abstractmethod
    def lr_at(self, step: int, base_lr: float, group: int = 0) -> float:
        """The learning rate of a group at `step`, counted from 0, when the optimizer was made with `base_lr`."""

    def step(self) -> None:
        """Go on to the next step's learning rate."""
        self._take_up_groups()
        for index, (group, own) in enumerate(zip(self.optimizer.param_groups, self.own_lrs)):
            if group["lr"] == own or self.is_absolute:
                continue
            if own:
                self.scales[index] *= group["lr"] / own
                continue
            # Made with 0, or set to 0 for a while: only where the formula itself is at 0 nobody knows the factor.
            if not self.base_lrs[index]:
                self.base_lrs[index], self.scales[index] = group["lr"], 1.0
            if by_formula := self.lr_at(self.num_steps, self.base_lrs[index], index):
                self.scales[index] = group["lr"] / by_formula
        self.num_steps += 1
        self._set()

    def _take_up_groups(self) -> None:
        """Groups that the optimizer has got since: from their present rates on, as far as rates are scaled at all."""
        for group in self.optimizer.param_groups[len(self.base_lrs) :] if not self.is_absolute else []:
            self.base_lrs.append(float(group.setdefault("initial_lr", group["lr"])))
            self.scales.append(1.0)
            self.own_lrs.append(self.lr_at(self.num_steps, self.base_lrs[-1], len(self.base_lrs) - 1))
            group.is_scheduled = True

    def get_last_lr(self) -> list[float]:
        """The learning rate of each group now."""
        return [float(group["lr"]) for group in self.optimizer.param_groups]

    def __repr__(self) -> str:
        hidden = ("optimizer", "base_lrs", "num_steps", "scales", "own_lrs", "_before")
        settings = [f"{name}={_shown(value)}" for name, value in vars(self).items() if name not in hidden]
        lrs = ", ".join(f"{lr:.6g}" for lr in self.get_last_lr())
        return f"{type(self).__name__}({', '.join([*settings, f'at step {self.num_steps}', f'lr {lrs}'])})"

    def state_dict(self) -> dict[str, Any]:
        """How far the scheduler is."""
        rates = {"base_lrs": self.base_lrs, "scales": self.scales, "own_lrs": self.own_lrs, "lrs": self.get_last_lr()}
        return {"num_steps": self.num_steps, **{name: list(values) for name, values in rates.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict()` was taken."""
        self._take_up_groups()
        if len(state["base_lrs"]) != len(self.base_lrs):
            given = str(len(state["base_lrs"]))
            raise ValueError(expected(type(self).__name__, f"a state of {len(self.base_lrs)} groups", given))
        num_steps, base_lrs = int(state["num_steps"]), [float(lr) for lr in state["base_lrs"]]
        if num_steps < 0 or num_steps != state["num_steps"] or not all(0 <= lr < math.inf for lr in base_lrs):
            given = f"{state['num_steps']!r:.40} and {base_lrs}"
            raise ValueError(expected(type(self).__name__, "a number of steps and base rates of at least 0", given))
        scales, own_lrs, lrs = (
            self._rates_of(state, name, otherwise)
            for name, otherwise in (("scales", [1.0] * len(base_lrs)), ("own_lrs", []), ("lrs", []))
        )
        self.num_steps, self.base_lrs, self.scales = num_steps, base_lrs, scales
        self._set()
        if own_lrs and lrs:
            self.own_lrs = own_lrs
            for group, lr in zip(self.optimizer.param_groups, lrs):
                group["lr"] = lr

    def _rates_of(self, state: Mapping[str, Any], name: str, otherwise: list[float]) -> list[float]:
        """Finite numbers of at least 0, one a group; `otherwise` in states of before they were saved."""
        if name not in state:
            return otherwise
        rates = [float(rate) for rate in state[name]]
        if len(rates) != len(self.base_lrs) or not all(0 <= rate < math.inf for rate in rates):
            wanted = f"{len(self.base_lrs)} {name} of at least 0"
            raise ValueError(expected(type(self).__name__, wanted, f"{state[name]!r:.40}"))
        return rates

    def _set(self) -> None:
        self.own_lrs = []
        for index, (group, base_lr) in enumerate(zip(self.optimizer.param_groups, self.base_lrs)):
            lr = self.lr_at(self.num_steps, base_lr, index)
            group["lr"] = lr if self.is_absolute else lr * self.scales[index]
            self.own_lrs.append(group["lr"])

    def withdraw(self) -> None:
        """Give back the rates of before: another schedule asks this one for its formula, and steps alone."""
        for group, (lr, is_scheduled) in zip(self.optimizer.param_groups, self._before):
            group["lr"], group.is_scheduled = lr, is_scheduled


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
