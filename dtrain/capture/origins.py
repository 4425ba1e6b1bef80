"""Where the nodes of a capture come from: the user's line, and the module whose forward was under way.

What a gradient rule records comes from where the op came from that it differentiates: its line and its module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dtrain.base.user_source import user_source
from dtrain.capture.watched import Watched
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor
from dtrain.graph.graph import Node


class Origins:
    """Collected while a function is captured."""

    def __init__(self) -> None:
        self.owners: dict[Node, Watched] = {}  # a node -> the module, or optimizer, that recorded it
        self._inside: list[Watched] = []
        self._nodes: dict[TapeNode, Node] = {}
        self._last: tuple[Sequence[Tensor], Node] | None = None
        self._forward: Node | None = None  # whose gradient is being computed

    def enter(self, owner: Watched) -> None:
        """What is recorded from here on belongs to `owner`, until it leaves."""
        self._inside.append(owner)

    def leave(self) -> None:
        """End what `enter` began."""
        self._inside.pop()

    def source(self) -> str:
        """The user's line `file.py:12` that the next node comes from."""
        return user_source() if self._forward is None else self._forward.source

    def note(self, node: Node, outputs: Sequence[Tensor]) -> None:
        """`node` was recorded, and gives these tensors."""
        self._note_last()
        self._last = outputs, node
        owner = self.owners.get(self._forward) if self._forward is not None else None
        if owner is None and self._inside:
            owner = self._inside[-1]
        if owner is not None:
            self.owners[node] = owner

    def note_entry(self, entry: TapeNode, results: Sequence[Tensor]) -> None:
        """`entry` stands on the tape for several nodes, which give `results`."""
        for tensor in results:
            if tensor.value is not None and tensor.value.node is not None:
                self._nodes.setdefault(entry, tensor.value.node)

    @contextmanager
    def backward(self) -> Iterator[None]:
        """A walk over the tape is under way inside."""
        self._note_last()
        before = self._forward
        try:
            yield
        finally:
            self._forward = before

    def begin_gradient_of(self, entry: TapeNode) -> None:
        """What is recorded from here on computes the gradient of what `entry` recorded."""
        self._note_last()
        self._forward = self._nodes.get(entry)

    def _note_last(self) -> None:
        # The tape takes up what was recorded only after that.
        if self._last is not None:
            outputs, node = self._last
            for tensor in outputs:
                if tensor.node is not None:
                    self._nodes.setdefault(tensor.node, node)
            self._last = None
