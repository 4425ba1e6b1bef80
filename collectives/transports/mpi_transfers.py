"""Memory that MPI may still read or write: kept until MPI is done with it, whatever ends the call that began it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING

from dtrain.collectives.programs.rank_order import Array

if TYPE_CHECKING:
    from mpi4py import MPI


class Transfer:
    """One request with the arrays that belong to it. `request` is None until MPI has been called."""

    def __init__(self, arrays: tuple[Array, ...], label: tuple[str, int] | None = None) -> None:
        """`label` is for whoever began the transfer."""
        self.arrays = arrays
        self.label = label
        self.request: MPI.Request | None = None

    def is_done(self) -> bool:
        """Whether MPI is done with the arrays; moves MPI on."""
        return self.request is not None and bool(self.request.Test())


class Transfers:
    """The transfers under way of one communicator."""

    def __init__(self) -> None:
        self._open: list[Transfer] = []

    def begin(self, start: Callable[[], MPI.Request], *arrays: Array, label: tuple[str, int] | None = None) -> Transfer:
        """Call MPI and keep `arrays`. They are kept before MPI is called, as an exception may come right behind it."""
        transfer = Transfer(arrays, label)
        self._open.append(transfer)
        transfer.request = start()
        return transfer

    def end(self, transfer: Transfer) -> None:
        """MPI is done with it."""
        self._open.remove(transfer)

    def collect(self) -> list[Transfer]:
        """Let go of what is done; return what is not."""
        self._open = [transfer for transfer in self._open if not transfer.is_done()]
        return self._open

    def keep_for_good(self) -> None:
        """Let the memory outlive Python's end: MPI is finalized behind it, and may still write then."""
        for transfer in self._open:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(transfer))
