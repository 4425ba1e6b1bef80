"""Graph passes: one file each, and `pipeline`, whose `DEFAULT_PIPELINE` documents their order."""

from __future__ import annotations

from dtrain.core.context import Context
from dtrain.passes.graph_passes import graph_passes
from dtrain.passes.pipeline import DEFAULT_PIPELINE, Pass, Pipeline, register_pass_for

Context.pipeline = DEFAULT_PIPELINE

__all__ = ["DEFAULT_PIPELINE", "Pass", "Pipeline", "graph_passes", "register_pass_for"]
