"""Gradients: the walk back over the tape, and operations with gradient rules of a user's own.

PyTorch's words for these lie here under the names that `dtrain` has them by: `autograd.grad`, `autograd.Function`.
"""

from typing import TYPE_CHECKING

from dtrain.base import names as _names

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return _names.lookup("autograd", name, globals())
