"""Graphs run on arrays: what an op does on given types, where its values lie, and the calls in order.

Nothing here knows tensors, gradients or the families of ops. `deployed` reads a graph from text for this floor alone.
"""
