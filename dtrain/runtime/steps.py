"""What a bound graph does, step by step: each is one call, with what it is and whom it serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dtrain.graph.graph import Node

StepKind = Literal["kernel", "copy", "collective", "start", "wait", "region"]


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a run.

    Attributes:
        kind: a kernel that computes, one that talks to other ranks, a copy that the binding put in; the begin of a
            collective that other steps overlap with, and the wait for it; a node that runs graphs of its own.
        call: bound to its arrays.
        node: whom it serves; None for copies of states.
        name: of the kernel, "copy" or "wait".
    """

    kind: StepKind
    call: Callable[[], Any]
    node: Node | None
    name: str


def copy_step(call: Callable[[], Any], node: Node | None) -> Step:
    """A copy from one array into another."""
    return Step("copy", call, node, "copy")


def nodes_to_come(steps: Sequence[Step]) -> list[Node | None]:
    """Whom a run that ended at the first of these steps had still to serve. What had begun is no longer to come."""
    return [step.node for step in steps[:1]] + [step.node for step in steps[1:] if step.kind != "wait"]
