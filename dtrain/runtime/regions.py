"""Nodes that hold graphs: which these are, and how a run of such a node runs them.

The graphs are functions of their arguments. Each has a memory plan of its own, whose arenas lie in a room of the outer
plan that lives as long as the node: graphs of one node take turns in it, and what the outer graph does before and
after uses it again. Such a node is one step of the outer run, whose call makes the calls of the inner steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from dtrain.graph.facet import Facet
from dtrain.graph.graph import Graph, Node
from dtrain.kernels.array_module import Array
from dtrain.runtime.steps import Step


class BoundBody(NamedTuple):
    """One graph of a node on given arrays: what it does, and where its results then lie, until another one runs."""

    steps: list[Step]
    results: list[Array]

    def run(self) -> None:
        """Make all its calls."""
        for step in self.steps:
            step.call()


# (which graph of the node, its arguments) -> it, bound to these arrays. May be called several times for one graph.
BindBody = Callable[[int, Sequence[Array]], BoundBody]


@dataclass(frozen=True, slots=True)
class Region:
    """What is known of an op whose nodes hold graphs.

    bodies: (node) -> its graphs.
    bind: (node, arrays of its inputs, which lie in order, arrays of its outputs, BindBody) -> the call of its step.
    """

    bodies: Callable[[Node], Sequence[Graph]]
    bind: Callable[[Node, Sequence[Array], Sequence[Array], BindBody], Callable[[], Any]]


REGIONS: Facet[Region] = Facet("region")
