"""What a bound graph does, step by step: each is one call, with what it is and whom it serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from dtrain.graph.graph import Node

StepKind = Literal["kernel", "copy", "collective"]


@dataclass(frozen=True, slots=True)
class Step:
    """One call of a run.

    Attributes:
        kind: a kernel that computes, one that talks to other ranks, or a copy that the binding put in.
        call: bound to its arrays.
        node: whom it serves; None for copies of states.
        name: of the kernel, or "copy".
    """

    kind: StepKind
    call: Callable[[], Any]
    node: Node | None
    name: str


def copy_step(call: Callable[[], Any], node: Node | None) -> Step:
    """A copy from one array into another."""
    return Step("copy", call, node, "copy")
