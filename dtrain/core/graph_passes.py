"""Which pipeline optimizes the graphs that this thread captures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dtrain.core.context import GraphPasses, context


@contextmanager
def graph_passes(pipeline: GraphPasses) -> Iterator[None]:
    """Optimize what traced functions capture inside with `pipeline`, in this thread.

        from dtrain.passes.fold_constants import fold_constants

        with dt.graph_passes(dt.passes.DEFAULT_PIPELINE.with_pass(mine, after=fold_constants)):
            step(images, labels)

    A function that has `trace(passes=…)` keeps its own. Captures belong to the pipeline that was there: called under
    another one, a function is captured again.

    Args:
        pipeline: a `Pipeline`, or any function that takes a graph and returns one.
    """
    before = context.pipeline
    context.pipeline = pipeline
    try:
        yield
    finally:
        context.pipeline = before
