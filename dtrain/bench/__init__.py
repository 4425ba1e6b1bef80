"""Benchmarks of the framework itself: the top floor, which may import everything below."""
