"""The canonical layout of buckets."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from dtrain.base.alignment import ALIGNMENT
from dtrain.collectives.memory.packed import Packed, address_of, packed_offsets, slices


def test_offsets_are_aligned() -> None:
    assert packed_offsets([]) == ([], 0)
    assert packed_offsets([0, 0, 1]) == ([0, 0, 0], 1)
    assert packed_offsets([100, 4, 64, 65]) == ([0, 128, 192, 256], 321)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 65, 1000, 4096])
def test_slices_cover_everything_once(size: int, nbytes: int) -> None:
    borders = slices(nbytes, size)
    assert len(borders) == size and borders[0][0] == 0 and borders[-1][1] == nbytes
    assert all(first <= last and first % ALIGNMENT in (0, nbytes % ALIGNMENT) for first, last in borders)
    assert all(one[1] == other[0] for one, other in pairwise(borders))
    lines = [-(-(last - first) // ALIGNMENT) for first, last in borders]
    assert max(lines) - min(lines) <= 1


@pytest.mark.parametrize("counts", [[5], [0], [3, 17, 0, 40, 1]])
@pytest.mark.parametrize("chunk", [64, 128, 1024])
def test_chunks_pass_through(counts: list[int], chunk: int) -> None:
    pieces = [np.arange(count, dtype=np.float32) + 100 * n for n, count in enumerate(counts)]
    copies = [np.zeros_like(piece) for piece in pieces]
    source, target = Packed(pieces), Packed(copies)
    assert source.nbytes == packed_offsets([4 * count for count in counts])[1]
    for start in range(0, source.nbytes, chunk):
        buffer = np.full(min(chunk, source.nbytes - start), 0xEE, np.uint8)
        source.read(start, buffer)
        target.write(start, buffer)
    for piece, copy in zip(pieces, copies, strict=True):
        assert piece.tobytes() == copy.tobytes()


def test_padding_is_left_alone() -> None:
    buffer = np.full(128, 0xEE, np.uint8)
    Packed([np.zeros(3, np.uint8), np.zeros(5, np.uint8)]).read(0, buffer[:69])
    assert (buffer[3:64] == 0xEE).all() and not buffer[64:69].any()


def test_address_only_of_neighbours_in_the_canonical_layout() -> None:
    buffer = np.zeros(64, np.float32)
    assert Packed([buffer[:3], buffer[16:20]]).address() == address_of(buffer)
    assert Packed([buffer[5:9]]).address() == address_of(buffer) + 20
    assert Packed([buffer[:3], buffer[3:9]]).address() is None
    assert Packed([buffer[16:20], buffer[:3]]).address() is None
    assert Packed([buffer[:3], np.zeros(4, np.float32)]).address() is None
