"""The compiled CPU kernels, one registry entry per row of the compiled table that this CPU can run."""

from __future__ import annotations
