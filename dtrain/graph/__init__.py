"""The graph: what is to be computed, without computing it."""
