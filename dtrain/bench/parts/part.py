"""What is timed: a part of a training step, which both sides compute from the same numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtrain.base.errors import expected
from dtrain.capture.trace import TracedFunction
from dtrain.kernels.quiet import quiet_context
from dtrain.runtime.steps import Step

Shape = tuple[int, ...]
FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to compute a part.

    Attributes:
        call: computes it once.
        results: computes it once too, and gives the outputs, the gradients and what was updated, in this order.
    """

    call: Callable[[], Any]
    results: Callable[[], list[np.ndarray]]


class Part(ABC):
    """A part of a step, at one size.

    Attributes:
        family: its name on the command line.
        moved: the bytes that forward and backward, each by itself, must at least read or write.
        held: the bytes of all arrays that it reads or writes.
        flops: of products; 0 where they are not what takes time.
    """

    family: str
    size: str

    @property
    @abstractmethod
    def moved(self) -> int: ...

    @property
    @abstractmethod
    def held(self) -> int: ...

    @property
    @abstractmethod
    def flops(self) -> int: ...

    @abstractmethod
    def ours(self) -> tuple[TracedFunction[[], None], Contestant]:
        """The traced function, which computes in place what it updates, and its calls."""

    @abstractmethod
    def peers(self, torch: Any) -> Mapping[str, Contestant]:
        """PyTorch's ways, each eager and on tensors of its own."""

    @property
    def label(self) -> str:
        return f"{self.family} {self.size}"


def bound_steps(function: TracedFunction[[], None]) -> Sequence[Step]:
    """What the traced function, which was called before, runs."""
    return function.compiled[-1].executor.steps


def runner(steps: Sequence[Step]) -> Callable[[], None]:
    """The bound calls one after another, as within a larger step: without what a call of the whole costs once."""
    calls = [step.call for step in steps]

    def run() -> None:
        for call in calls:
            call()

    return lambda: quiet_context().run(run)


def expect_equal(label: str, ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], tolerance: float = 1e-4) -> None:
    """Raise ValueError unless all arrays agree to `tolerance` of the largest element of each."""
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        wanted = f"the shape {other.shape} in result {number}"
        if mine.shape != other.shape:
            raise ValueError(expected(label, wanted, str(mine.shape)))
        largest = float(np.max(np.abs(other), initial=0.0))
        error = float(np.max(np.abs(mine - other), initial=0.0))
        if not error <= tolerance * largest:
            wanted = f"PyTorch's numbers in result {number}, whose largest is {largest:.3g}"
            raise ValueError(expected(label, wanted, f"some that are {error:.3g} away"))
