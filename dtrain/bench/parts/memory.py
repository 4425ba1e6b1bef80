"""How fast the machine copies, and how much its caches hold: what times of parts that only move numbers are held to.

And how a process keeps memory, on which times of whoever allocates it anew in each call depend.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

COPIED_BYTES = 1 << 27


# Of mallopt in the header malloc.h of glibc, and the most that it takes for the second.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _LARGEST = -1, -3, 32 << 20


def keep_freed_memory() -> None:
    """Let glibc hand memory that was freed out again, as often as it can, instead of fresh pages.

    PyTorch allocates each result. By itself glibc gives large blocks back to the system or not, as earlier calls went,
    and filling fresh pages takes several times as long as computing. Of no effect with other C libraries.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST)
        mallopt(_TRIM_THRESHOLD, 1 << 30)


def large_copy() -> Callable[[], Any]:
    """A call in which one thread reads COPIED_BYTES, far more than caches hold, and writes as many."""
    return partial(np.copyto, np.zeros(COPIED_BYTES, np.uint8), np.ones(COPIED_BYTES, np.uint8))


def cache_bytes(folder: Path = Path("/sys/devices/system/cpu/cpu0/cache")) -> dict[str, int]:
    """Bytes of the caches that the first core uses, the smallest first: L2, L3. Empty where the system does not say."""
    found = {}
    for index in sorted(folder.glob("index*")):
        try:
            level, size = ((index / name).read_text().strip() for name in ("level", "size"))
        except OSError:
            continue
        if int(level) >= 2 and size.endswith("K"):
            found[f"L{level}"] = int(size.removesuffix("K")) << 10
    return found
