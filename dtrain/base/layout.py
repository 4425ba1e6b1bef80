"""How the axes of an array lie in memory.

Blocked layouts split the channel axis into blocks: `NCHW8` is [N, C/8, H, W, 8]. Vectors and matrices are `PLAIN`.
"""

from __future__ import annotations

from enum import Enum


class Layout(Enum):
    """Memory order of a tensor's axes. The value is what graphs print."""

    PLAIN = ""
    NCHW = "NCHW"
    NHWC = "NHWC"
    NCHW4 = "NCHW4"
    NCHW8 = "NCHW8"
    NCHW16 = "NCHW16"
    NCHW32 = "NCHW32"

    @property
    def block(self) -> int:
        """Channels per block, 1 where channels are not blocked."""
        digits = self.value[4:]
        return int(digits) if digits else 1
