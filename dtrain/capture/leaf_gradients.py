"""What a captured function does to the `grad` of leaves: which it found there, looked at, replaced and added to."""

from __future__ import annotations

from collections.abc import Sequence

from dtrain.capture.capture import ArgumentGradient
from dtrain.core.tensor import LentGradient, Tensor


class LeafGradients:
    """The gradients of one capture under way."""

    def __init__(self) -> None:
        self.found: dict[Tensor, Tensor | None] = {}  # leaf -> its grad before the capture
        self._handles: dict[int, Tensor] = {}  # id of a gradient that others may have too -> what stands for it here
        self._read: set[Tensor] = set()
        self.added_to: set[Tensor] = set()  # leaves whose grad is the one they had, and what backward added

    def note_read(self, leaf: Tensor) -> None:
        """The function looks at the gradient of `leaf`."""
        if leaf not in self.found:
            self.found[leaf] = leaf._grad
            self._read.add(leaf)
            leaf._grad = self._shown(leaf._grad)

    def _shown(self, found: Tensor | None) -> Tensor | None:
        """A handle of its own, so that who reads the same tensor by another way is seen to hold it as well."""
        if found is None or found.is_symbolic or found.requires_grad or isinstance(found, LentGradient):
            return found
        if id(found) not in self._handles:
            handle = self._handles[id(found)] = Tensor(found.array, found.type, name=found.name)
            handle.share_writes(found)
        return self._handles[id(found)]

    def _is_found(self, leaf: Tensor, gradient: Tensor | None) -> bool:
        before = self.found[leaf]
        return gradient is before or (gradient is not None and self._handles.get(id(before)) is gradient)

    def note_overwrite(self, leaf: Tensor) -> None:
        """The function sets the gradient of `leaf`, whatever it was."""
        self.found.setdefault(leaf, leaf._grad)
        self.added_to.discard(leaf)

    def add(self, leaf: Tensor, total: Tensor) -> None:
        """The gradient of `leaf`, which was looked at, becomes `total`: what it was, and what backward adds."""
        if self._is_found(leaf, leaf._grad):
            self.added_to.add(leaf)
        leaf._grad = total

    def restore(self) -> None:
        """Put every gradient back as it was before the capture."""
        for leaf, gradient in self.found.items():
            leaf._grad = gradient

    def looked_at(self) -> list[Tensor]:
        """The leaves with numbers whose gradient was read as it was found, in order."""
        return [leaf for leaf in self.found if leaf in self._read and not leaf.is_symbolic]

    def leaf_with(self, gradient: Tensor) -> Tensor | None:
        """The leaf that was found with this gradient, if that was read there."""
        return next((leaf for leaf in self.looked_at() if self._is_found(leaf, gradient)), None)

    def effects(self, done: set[Tensor]) -> list[tuple[Tensor, Tensor | None]]:
        """Which leaf has which `grad` after a run; not of those that keep the one they had or are done."""
        return [
            (leaf, leaf._grad)
            for leaf in self.found
            if not leaf.is_symbolic
            and leaf not in done
            and not (leaf in self._read and self._is_found(leaf, leaf._grad))
        ]

    def of_arguments(self, arguments: Sequence[Tensor]) -> list[ArgumentGradient]:
        """What stays behind in the gradients of the function's arguments."""
        positions = {tensor: position for position, tensor in enumerate(arguments)}
        return [
            ArgumentGradient(positions[leaf], leaf._grad, adds=leaf in self._read)
            for leaf in self.found
            if leaf in positions
        ]
