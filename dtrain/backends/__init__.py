"""`dt.backends`: switches of PyTorch's backends, which scripts set. They are kept and read back, and change nothing.

Kernels are chosen by device and type, results repeat bit for bit, and f32 products are computed in f32.
"""

from typing import TYPE_CHECKING

from dtrain.backends import cuda as cuda
from dtrain.backends import cudnn as cudnn
from dtrain.backends import mps as mps
from dtrain.base import names as _names

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return _names.lookup("backends", name, globals())
