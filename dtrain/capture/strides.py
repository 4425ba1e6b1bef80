"""Whose strides decided what a captured function did: whether a reshape showed its input, or had to copy it.

No number depends on such a decision before somebody writes into what it was about, or into the copy. Only then, and
where Python was told how a tensor lies (`is_contiguous()`, `view`), a capture holds for tensors that lie alike alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dtrain.core.strides import Strides, strides_of
from dtrain.core.tensor import Tensor
from dtrain.kernels.device_arrays import owner_of


@dataclass(frozen=True, slots=True)
class StridesGuard:
    """The elements of a state lay so. If it was the gradient of `leaf`, the gradient that the leaf has now must."""

    tensor: Tensor
    strides: Strides
    leaf: Tensor | None

    def holds(self) -> bool:
        tensor = self.tensor if self.leaf is None else self.leaf._grad
        return tensor is not None and strides_of(tensor.array) == self.strides

    def __str__(self) -> str:
        return f"how the elements of {self.tensor.name or self.tensor.type} lie in memory"


class StrideReads:
    """What one capture under way has asked about strides, and where it wrote."""

    def __init__(self) -> None:
        self._arguments: dict[Tensor, Tensor] = {}  # what stands for an argument -> the argument
        self._originals: dict[Tensor, Tensor] = {}  # a detached twin -> the tensor it was made of
        self._copied: dict[Tensor, Tensor] = {}  # a copy that was made because of strides -> the tensor that lay so
        # Sets that keep their order. Tensors in them are arguments or have numbers.
        self._decided: dict[Tensor, None] = {}
        self._told: dict[Tensor, None] = {}
        self._written: dict[Tensor, None] = {}

    def note_argument(self, symbolic: Tensor, argument: Tensor) -> None:
        """`symbolic` stands for `argument`, whose elements lie somewhere."""
        self._arguments[symbolic] = argument

    def note_twin(self, twin: Tensor, original: Tensor) -> None:
        """`twin` lies as `original`, in the same memory."""
        self._originals[twin] = original

    def laid_as(self, tensor: Tensor) -> Tensor:
        """The tensor that lies as this one, which is a detached twin or stands for an argument; itself if neither."""
        return self._originals[tensor] if tensor in self._originals else self._arguments.get(tensor, tensor)

    def note_decision(self, source: Tensor, copy: Tensor | None) -> None:
        """How `source` lies has decided whether it is shown, or copied."""
        owner = self._owner(source)
        if owner is not None:
            self._decided[owner] = None
            if copy is not None:
                self._copied[copy] = source

    def rely_on(self, tensor: Tensor) -> None:
        """Python was told something that follows from how `tensor` lies."""
        owner = self._owner(tensor)
        if owner is not None:
            self._told[owner] = None

    def note_write(self, target: Tensor) -> None:
        """Elements of `target`, which is no view, have changed."""
        owner = self._owner(target)
        if owner is not None:
            self._written[owner] = None

    def of_arguments(self) -> list[tuple[int, Strides]]:
        """Positions of arguments that must lie as they do, and how that is."""
        relied_on = self._relied_on()
        return [
            (position, strides_of(argument.array))
            for position, (symbolic, argument) in enumerate(self._arguments.items())
            if symbolic in relied_on and argument.array is not None
        ]

    def of_states(self, leaf_with: Callable[[Tensor], Tensor | None]) -> Sequence[StridesGuard]:
        """Guards of tensors with numbers that must lie as they do; `leaf_with` gives whose gradient one is."""
        return [
            StridesGuard(tensor, strides_of(tensor.array), leaf_with(tensor))
            for tensor in self._relied_on()
            if tensor.array is not None
        ]

    def _owner(self, tensor: Tensor) -> Tensor | None:
        """The argument, or tensor with numbers, whose strides decide how `tensor` lies; None if it was made here."""
        while True:
            if tensor in self._originals:
                tensor = self._originals[tensor]
            elif tensor.array is not None or tensor in self._arguments:
                return tensor
            elif tensor.base is not None:
                tensor = tensor.base
            elif tensor in self._copied:
                tensor = self._copied[tensor]
            else:
                return None

    def _relied_on(self) -> dict[Tensor, None]:
        # Views and twins from outside are other tensors on the same memory.
        written = {_memory_of(tensor) for tensor in self._written}
        return self._told | {tensor: None for tensor in self._decided if _memory_of(tensor) in written}


def _memory_of(tensor: Tensor) -> int:
    return id(tensor if tensor.array is None else owner_of(tensor.array))
