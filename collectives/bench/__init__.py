"""Measuring how ranks talk: `all_reduce` sweeps message sizes; `step` sets communication against computation."""
