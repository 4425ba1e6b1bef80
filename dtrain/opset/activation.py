"""Ops of activations that no formula says."""

from __future__ import annotations

from dtrain.opset.formulas import elementwise_op

GELU, GELU_BACKWARD = elementwise_op("gelu", attrs=[{"approximate": "none"}, {"approximate": "tanh"}])
