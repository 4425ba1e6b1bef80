"""A pipeline is a value: passes in order. It optimizes graphs, verifies them after each pass, and shows what changed.

Which one a traced function uses is a matter of the thread (`graph_passes`) or of the function (`trace(passes=…)`).
An op may want passes of its own (`register_pass_for`): they run for graphs that have such a node, and for no others,
so what happens to a graph follows from the pipeline and the graph alone.

`DTRAIN_DUMP_PASSES=1` prints a diff per pass to standard error; a comma-separated list of names prints only those.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dtrain.base.errors import expected
from dtrain.graph.graph import Change, Graph
from dtrain.graph.op import Op
from dtrain.graph.verify import verify
from dtrain.graph.verify_effects import record_effects, verify_effects
from dtrain.passes.dump import dumps_of, selected_dumps
from dtrain.passes.eliminate_common_subexpressions import eliminate_common_subexpressions
from dtrain.passes.eliminate_dead_code import eliminate_dead_code
from dtrain.passes.fold_constants import fold_constants
from dtrain.passes.simplify import simplify

Rewrite = Callable[[Graph], None]


@dataclass(frozen=True, slots=True)
class Pass:
    """A rewrite of a graph in place. `reason` says why it stands where it stands in the order."""

    run: Rewrite
    reason: str

    @property
    def name(self) -> str:
        return self.run.__name__


# (pass, graph after it, the changes that it noted)
Observer = Callable[[Pass, Graph, Sequence[Change]], None]


class Pipeline:
    """An ordered list of passes, which never changes: other lists are other pipelines."""

    def __init__(self, passes: Sequence[Pass], *, observers: Sequence[Observer] = ()) -> None:
        self.passes = tuple(passes)
        self.observers = tuple(observers)

    def __call__(self, graph: Graph) -> Graph:
        """Apply every pass, and those that ops of the graph want, to `graph`, which is changed and returned.

        Raises:
            GraphError: a pass left a graph that is not well formed, or broke an effect (`graph/verify_effects.py`).
        """
        passes = self._with_wanted(graph)
        dumped = selected_dumps([item.name for item in passes], [wanted.item.name for wanted in _wanted])
        graph.changes.clear()
        effects = record_effects(graph)
        for item in passes:
            with dumps_of(item.name, graph, dumped):
                try:
                    item.run(graph)
                except Exception as error:
                    if hasattr(error, "add_note"):
                        error.add_note(f"in pass {item.name} of graph {graph.name}")
                    raise
                verify(graph, after=item.name)
                effects = verify_effects(graph, effects, graph.changes, after=item.name)
            for observer in self.observers:
                observer(item, graph, graph.changes)
            graph.changes.clear()
        return graph

    def with_pass(self, item: Pass, *, after: Rewrite) -> Pipeline:
        """This pipeline with one more pass, behind the one that runs `after`."""
        names = [other.name for other in self.passes]
        functions = [other.run for other in self.passes]
        if after not in functions:
            raise ValueError(
                expected("Pipeline.with_pass", f"the function of one of {', '.join(names)}", _words(after))
            )
        if item.name in names:
            raise ValueError(expected("Pipeline.with_pass", f"a pass besides {', '.join(names)}", item.name))
        place = functions.index(after) + 1
        return Pipeline([*self.passes[:place], item, *self.passes[place:]], observers=self.observers)

    def with_observer(self, observer: Observer) -> Pipeline:
        """This pipeline, which calls `observer(pass, graph, changes)` behind each pass."""
        return Pipeline(self.passes, observers=[*self.observers, observer])

    def _with_wanted(self, graph: Graph) -> tuple[Pass, ...]:
        pipeline, ops = self, {node.op.name for node in graph.nodes}
        # By name: what happens to a graph does not depend on which op was registered first.
        wanted = sorted([item for item in _wanted if item.op in ops], key=lambda item: item.item.name)
        while found := next((item for item in wanted if pipeline._has_room_for(item)), None):
            pipeline = pipeline.with_pass(found.item, after=found.after)
        return pipeline.passes

    def _has_room_for(self, wanted: _Wanted) -> bool:
        names, functions = [item.name for item in self.passes], [item.run for item in self.passes]
        return wanted.item.name not in names and wanted.after in functions

    def __repr__(self) -> str:
        return f"Pipeline({' → '.join(item.name for item in self.passes)})"


class _Wanted(NamedTuple):
    """That graphs with a node of the op of this name want a pass behind another one."""

    op: str
    item: Pass
    after: Rewrite


_wanted: list[_Wanted] = []


def register_pass_for(op: Op, item: Pass, *, after: Rewrite) -> None:
    """Let graphs with a node of `op` be optimized by `item` too, behind the pass that runs `after`.

    An op may want several passes, and several ops the same one. A pipeline that does not run `after` goes without this
    one: it was made to leave out what this one builds on. One that has a pass of this name runs its own.

    Raises:
        ValueError: neither the default pipeline nor an op has a pass that runs `after`; or another pass has this name.
    """
    known = [*DEFAULT_PIPELINE.passes, *(wanted.item for wanted in _wanted)]
    if after not in [other.run for other in known]:
        names = ", ".join(dict.fromkeys(other.name for other in known))
        raise ValueError(expected("register_pass_for", f"after: the function of one of {names}", _words(after)))
    wanted = _Wanted(op.name, item, after)
    if wanted in _wanted:
        return
    for other in _wanted:
        if other.item.name == item.name and (other.item.run is not item.run or other.after is not after):
            given = f"another {item.name}, or the same one behind {_words(after)}"
            raise ValueError(
                expected("register_pass_for", f"one pass {item.name}, behind {_words(other.after)}", given)
            )
    _wanted.append(wanted)


def _words(function: object) -> str:
    return str(getattr(function, "__qualname__", function))


DEFAULT_PIPELINE = Pipeline(
    [
        Pass(fold_constants, "first, so that equal constants are seen by the next passes"),
        Pass(simplify, "behind constants, which rules look at; before equal pieces are sought, which it makes"),
        Pass(eliminate_common_subexpressions, "before dead code, which removes what it made unused"),
        Pass(eliminate_dead_code, "last, after every pass that leaves nodes without readers"),
    ]
)
"""The passes of every traced function, in order. None of them changes a bit of a result."""
