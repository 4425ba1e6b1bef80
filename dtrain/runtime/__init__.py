"""Graphs run on arrays: what an op does on given types, where its values lie, and the calls in order."""
