"""Tensors and how ops are applied to them: eagerly, on the autograd tape, and into a graph."""
