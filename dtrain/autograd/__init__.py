"""Gradients: the walk back over the tape, and operations with gradient rules of a user's own."""
