"""A function of tensors becomes a graph: what it computes, what it reads besides, and when that still holds."""
