"""Graph passes: one file each, and `pipeline`, whose `DEFAULT_PIPELINE` documents their order."""

from __future__ import annotations

from dtrain.passes.pipeline import DEFAULT_PIPELINE, Pass, Pipeline, register_pass_for

__all__ = ["DEFAULT_PIPELINE", "Pass", "Pipeline", "register_pass_for"]
