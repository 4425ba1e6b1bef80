"""Message sizes on the command line: `64M` as nccl-tests reads it (M = 2^20), and the sweep from one to another."""

from __future__ import annotations

import argparse

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse_bytes(text: str) -> int:
    """The bytes that `8`, `64K`, `1.5M` or `2G` name; units are powers of two.

    >>> parse_bytes("64K")
    65536
    """
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    try:
        nbytes = float(number) * _UNITS[unit]
        if nbytes < 0 or nbytes != int(nbytes):
            raise ValueError
    except (ValueError, KeyError, OverflowError):
        raise argparse.ArgumentTypeError(f"expected bytes such as 8, 64K, 32M or 1G, got {text!r}") from None
    return int(nbytes)


def sweep(begin: int, end: int, *, factor: float, step: int | None, itemsize: int) -> list[int]:
    """Element counts from `begin` to `end` bytes: times `factor`, or `step` bytes apart if that is given.

    >>> sweep(8, 64, factor=2, step=None, itemsize=4)
    [2, 4, 8, 16]
    """
    counts: list[int] = []
    nbytes = begin
    while nbytes <= end:
        count = nbytes // itemsize
        if count not in counts[-1:]:
            counts.append(count)
        nbytes = nbytes + step if step else max(int(nbytes * factor), nbytes + 1)
    return counts
