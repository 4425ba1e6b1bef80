"""Several arrays as one message: the canonical layout of a bucket, and a byte-addressed view of its pieces.

    piece 0          piece 1     piece 2
    |########|.......|####|......|############|     '.' is padding: every piece begins at a multiple of ALIGNMENT

Arrays that already lie like this in one buffer are used where they are; others are copied piece by piece while a
chunk moves in or out of shared memory. Either way the message is the same, so ranks need not agree on it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np

from dtrain.base.alignment import ALIGNMENT, aligned
from dtrain.collectives.programs.rank_order import Array

_Byte = ctypes.c_char


def packed_offsets(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Byte offsets of pieces of `sizes` bytes in the canonical layout, and the bytes of the whole.

    >>> packed_offsets([100, 4, 64])
    ([0, 128, 192], 256)
    """
    offsets, end = _offsets_of(tuple(sizes))
    return list(offsets), end


@lru_cache(maxsize=1024)  # a training step sends the same messages again and again
def _offsets_of(sizes: tuple[int, ...]) -> tuple[list[int], int]:
    offsets: list[int] = []
    end = 0
    for size in sizes:
        offsets.append(aligned(end))
        end = offsets[-1] + size
    return offsets, end


@lru_cache(maxsize=1024)
def runs_of(sizes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """First and last byte of what lies without padding in between.

    >>> runs_of((128, 64, 4, 64))
    ((0, 196), (256, 320))
    """
    runs: list[tuple[int, int]] = []
    for offset, size in zip(_offsets_of(sizes)[0], sizes):
        if runs and runs[-1][1] == offset:
            runs[-1] = (runs[-1][0], offset + size)
        elif size:
            runs.append((offset, offset + size))
    return tuple(runs)


def slices(nbytes: int, size: int) -> list[tuple[int, int]]:
    """Cut a message into one slice per rank at multiples of ALIGNMENT."""
    lines = -(-nbytes // ALIGNMENT)
    borders = [min(lines * rank // size * ALIGNMENT, nbytes) for rank in range(size + 1)]
    return list(pairwise(borders))


def address_of(array: Array) -> int:
    """Where the first element lies, in the memory of the host or of a CUDA device."""
    try:
        data: Any = array
        return ctypes.addressof(_Byte.from_buffer(data))  # several times faster than the interface
    except (TypeError, ValueError, BufferError):  # read-only, empty, not contiguous, or on a device
        pass
    described = getattr(array, "__cuda_array_interface__", None) or array.__array_interface__
    return int(described["data"][0])


class Packed:
    """Flat contiguous arrays of one dtype, addressed as bytes of the canonical layout.

    Attributes:
        nbytes: bytes of the message, padding between pieces included.
        only: the only piece, as it was given, where there is no more than one.
    """

    __slots__ = ("_offsets", "_pieces", "_single", "nbytes", "only")

    def __init__(self, pieces: Sequence[Array]) -> None:
        self.only: Array | None = None
        self._single: Array | None = None
        self._pieces: list[Array] = []
        self._offsets: list[int] = []
        if len(pieces) == 1:
            self.only = pieces[0]
            self.nbytes: int = self.only.nbytes
        else:
            self._pieces = [piece.view(np.uint8) for piece in pieces]
            self._offsets, self.nbytes = packed_offsets([piece.size for piece in self._pieces])

    @property
    def single(self) -> Array | None:
        """The bytes of the only piece."""
        if self._single is None and self.only is not None:
            self._single = self.only.view(np.uint8)
        return self._single

    @property
    def runs(self) -> tuple[tuple[int, int], ...]:
        """Where the pieces are, without the padding, which may be anybody's."""
        return runs_of((self.nbytes,) if self.only is not None else tuple([piece.size for piece in self._pieces]))

    def read(self, start: int, target: Array) -> None:
        """Copy bytes `start : start + target.size` of the message into `target`; padding is left as it is."""
        single = self.single
        if single is not None:
            target[...] = single[start : start + target.size]
            return
        for piece, offset, first, last in self._overlaps(start, start + target.size):
            target[first - start : last - start] = piece[first - offset : last - offset]

    def write(self, start: int, source: Array) -> None:
        """Copy `source` to bytes `start : start + source.size` of the message; padding is dropped."""
        single = self.single
        if single is not None:
            single[start : start + source.size] = source
            return
        for piece, offset, first, last in self._overlaps(start, start + source.size):
            piece[first - offset : last - offset] = source[first - start : last - start]

    def address(self) -> int | None:
        """The address of the message if its pieces lie in memory exactly as in the canonical layout."""
        if self.only is not None:
            return address_of(self.only)
        begin = address_of(self._pieces[0])
        in_place = all(
            address_of(piece) == begin + offset
            for piece, offset in zip(self._pieces[1:], self._offsets[1:], strict=True)
        )
        return begin if in_place else None

    def _overlaps(self, start: int, stop: int) -> list[tuple[Array, int, int, int]]:
        overlaps: list[tuple[Array, int, int, int]] = []
        if start == 0 and stop >= self.nbytes:  # the usual message, in one chunk
            return [(piece, at, at, at + piece.size) for piece, at in zip(self._pieces, self._offsets) if piece.size]
        for piece, offset in zip(self._pieces, self._offsets, strict=True):
            first, last = max(start, offset), min(stop, offset + piece.size)
            if first < last:
                overlaps.append((piece, offset, first, last))
        return overlaps
