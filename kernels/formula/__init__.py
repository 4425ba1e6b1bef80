"""Elementwise functions as data: what follows from a formula is not written a second time."""
