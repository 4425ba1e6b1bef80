"""Who am I in the job: rank and sizes read from whichever launcher's environment is present."""

from __future__ import annotations

import os


def rank_tag() -> str:
    """`[rank 2/8] ` in a distributed run, nothing alone."""
    world = os.environ.get("WORLD_SIZE", "1")
    return f"[rank {os.environ.get('RANK', '0')}/{world}] " if world not in ("", "1") else ""
