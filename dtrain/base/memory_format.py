"""PyTorch's words for the order of axes in memory. Taken, and without effect: how a tensor lies is decided here."""

from __future__ import annotations

from enum import Enum


class MemoryFormat(Enum):
    """A hint of scripts. Axes count as N, C, H, W in every format, and no result depends on it."""

    contiguous_format = "contiguous_format"
    preserve_format = "preserve_format"
    channels_last = "channels_last"
    channels_last_3d = "channels_last_3d"


contiguous_format = MemoryFormat.contiguous_format
preserve_format = MemoryFormat.preserve_format
channels_last = MemoryFormat.channels_last
channels_last_3d = MemoryFormat.channels_last_3d
