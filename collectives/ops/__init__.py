"""Collectives as ops: differentiable, and nodes of traced graphs."""
