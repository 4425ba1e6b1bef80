"""How compiled kernels share a call among threads (kernels/cpu/binding/share.h), and what that asks of a workspace.

Which kernel is taken does not depend on the number of threads, and no sum is cut: so no result does.
"""

from __future__ import annotations

from collections.abc import Callable

from dtrain.base.alignment import aligned
from dtrain.kernels.compiled_module import compiled_module
from dtrain.kernels.problem import Problem


def parts_of(nbytes: int) -> int:
    """Into how many parts at most a call is cut that takes as long as moving `nbytes` bytes."""
    module = compiled_module()
    return 1 if module is None else max(1, min(module.num_threads(), nbytes // module.least_bytes()[0]))


def for_each_part(
    nbytes: Callable[[Problem], int], work: Callable[[Problem], int], units: Callable[[Problem], int]
) -> Callable[[Problem], int]:
    """Bytes of a workspace with room of `nbytes` for each part of a call.

    The call takes as long as moving `work` bytes and falls into `units`. Threads may be fewer or more when it is made:
    it is cut into no more parts than there is room for.
    """

    def total(problem: Problem) -> int:
        return min(parts_of(work(problem)), units(problem)) * aligned(nbytes(problem))

    return total
