"""Tensors and how ops are applied to them: computed, recorded on the tape, or appended to a graph."""
