"""How compiled kernels share a call among threads (kernels/cpu/binding/share.h), and what that asks of a workspace.

Which kernel is taken by cost does not depend on the number of threads, and sums are cut, if at all, where their shape
says: so no result does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dtrain.base.alignment import aligned
from dtrain.base.library_threads import add_kernels
from dtrain.kernels.compiled_module import compiled_module
from dtrain.kernels.policy import forget_choices
from dtrain.kernels.problem import Problem


class _Threads:
    """Those of the compiled module. Their number is part of what eager ops have chosen, by the room of workspaces."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self.blas_jobs = module.blas_jobs
        self.set_blas_numbers = module.set_blas_numbers

    def set_num_threads(self, count: int) -> None:
        if count != self._module.num_threads():
            self._module.set_num_threads(count)
            forget_choices()


def use_threads() -> None:
    """Let the compiled kernels compute on as many threads as this process may use; once they are listed."""
    module = compiled_module()
    if module is not None:
        add_kernels(_Threads(module))


def parts_of(nbytes: int) -> int:
    """Into how many parts at most a call is cut that takes as long as moving `nbytes` bytes."""
    module = compiled_module()
    return 1 if module is None else max(1, min(module.num_threads(), nbytes // module.least_bytes_of_part()))


def for_each_part(
    nbytes: Callable[[Problem], int], work: Callable[[Problem], int], units: Callable[[Problem], int]
) -> Callable[[Problem], int]:
    """Bytes of a workspace with room of `nbytes` for each part of a call.

    The call takes as long as moving `work` bytes and falls into `units`. Threads may be fewer or more when it is made:
    it is cut into no more parts than there is room for.
    """

    def total(problem: Problem) -> int:
        return max(1, min(parts_of(work(problem)), units(problem))) * aligned(nbytes(problem))

    return total
