"""How many threads a benchmark's process computes with."""

from __future__ import annotations

import os
import sys

from dtrain.base.cores import THREAD_VARIABLES


def fix_threads(threads: int) -> None:
    """BLAS reads its thread count once, at import; start again with the right one if need be."""
    if any(os.environ.get(name) != str(threads) for name in THREAD_VARIABLES):
        environment = {**os.environ, **{name: str(threads) for name in THREAD_VARIABLES}}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)
