"""Graph passes: one file each, and `pass_manager`, whose `default_pipeline` documents their order."""

from __future__ import annotations

from dtrain.capture.trace import set_pipeline
from dtrain.passes.pass_manager import Pass, PassManager, default_pipeline, insert_pass

set_pipeline(lambda graph: default_pipeline().run(graph))

__all__ = ["Pass", "PassManager", "default_pipeline", "insert_pass"]
