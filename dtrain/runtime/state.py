"""The memory behind a graph's states, as a run sees it: an array, and a count of writes into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from dtrain.base.tensor_type import TensorType
from dtrain.kernels.array_module import Array


class State(Protocol):
    """What keeps a state between runs. A tensor is one."""

    array: Array  # exchanged by whoever holds it; a run binds itself to the new one

    @property
    def type(self) -> TensorType | None:
        """What the array stands for, with its layout and quantization; None: what the graph says. Changes with it."""

    @property
    def version(self) -> int:
        """How often the elements were overwritten."""

    @version.setter
    def version(self, count: int) -> None: ...


@dataclass(slots=True, eq=False)
class StateCell:
    """A state of its own, for whoever runs graphs on arrays."""

    array: Array
    version: int = 0
    type: TensorType | None = None
