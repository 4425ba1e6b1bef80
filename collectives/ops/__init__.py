"""Collectives as ops: differentiable, and nodes of traced graphs."""

from __future__ import annotations

import dtrain.collectives.ops.graph_runs  # noqa: F401  whoever uses one of these ops may run graphs
