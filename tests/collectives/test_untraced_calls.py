"""What no graph can repeat is refused inside traced functions: it would happen at the capture alone, in silence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import dtrain as dt
from dtrain import collectives as dist
from dtrain.base.errors import TraceError
from dtrain.collectives import horovod as hvd

HELD = dt.tensor([1.0])

CALLS: dict[str, Callable[[], Any]] = {
    "send": lambda: dist.send(HELD, 0),
    "isend": lambda: dist.isend(HELD, 0),
    "recv": lambda: dist.recv(HELD, 0),
    "irecv": lambda: dist.irecv(HELD, 0),
    "all_gather_object": lambda: dist.all_gather_object(1),
    "gather_object": lambda: dist.gather_object(1, None, 0),
    "broadcast_object": lambda: dist.broadcast_object(1),
    "broadcast_object_list": lambda: dist.broadcast_object_list([1], 0),
    "scatter_object_list": lambda: dist.scatter_object_list([None], [1], 0),
    "allgather": lambda: hvd.allgather(HELD),
    "all_reduce": lambda: dist.all_reduce(HELD, async_op=True),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_no_graph_repeats(name: str) -> None:
    def inside(x: dt.Tensor) -> dt.Tensor:
        CALLS[name]()
        return x

    def program(communicator: Any) -> None:
        with (
            dist.using(communicator),
            pytest.raises(TraceError, match=rf"^{name.removeprefix('i')}.*outside of traced functions"),
        ):
            dt.trace(inside)(HELD)

    dist.run_threads(1, program)
