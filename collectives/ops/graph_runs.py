"""What runs of compiled graphs ask of communicators: buckets in their memory, and collectives under way.

They also tell which collectives they did not reach.
"""

from __future__ import annotations

from collections.abc import Sequence

from dtrain.collectives import exposed_time
from dtrain.collectives.memory.bucket_pool import pool_of
from dtrain.collectives.ops.collective_ops import ALL_REDUCE_MANY, exchange, first_of, weight_of
from dtrain.collectives.world.context import get_communicator, is_initialized
from dtrain.collectives.world.missed_calls import miss
from dtrain.graph.graph import Node
from dtrain.kernels.array_module import Array
from dtrain.runtime.buckets import BucketRequest, set_bucket_provider
from dtrain.runtime.under_way import STARTS
from dtrain.runtime.unfinished_runs import set_unfinished_listener


def borrow_buckets(requests: Sequence[BucketRequest]) -> list[Array | None]:
    """The buckets of one compiled graph, from the pools of their communicators as far as there is room."""
    found: list[Array | None] = [None] * len(requests)
    for request in sorted(requests, key=lambda request: -request.nbytes):
        if request.device.is_cpu and is_initialized():
            pool = pool_of(get_communicator(request.node.attrs["group"]))
            found[request.number] = pool.lend(request.nbytes)
    return found


set_bucket_provider(borrow_buckets)


def miss_collectives(nodes: Sequence[Node]) -> None:
    """A traced function ended by an exception before these, once for each group: the next call of each tells."""
    for group in dict.fromkeys(node.attrs["group"] for node in nodes):
        miss(group)


set_unfinished_listener(miss_collectives)


def _start_all_reduce_many(
    *inputs: Array, out: Array | tuple[Array, ...], group: str, op: str, labels: tuple[str, ...]
) -> exposed_time.Waiting:
    outs = out if isinstance(out, tuple) else (out,)
    xs, weight = inputs[: len(labels)], inputs[len(labels) :]
    with exchange(xs[0], group, f"all_reduce_many of {first_of(labels)}") as communicator:
        work = communicator.all_reduce_many_async(xs, op=op, outs=outs, weight=weight_of(weight))
    return exposed_time.Waiting(work)


STARTS.register(ALL_REDUCE_MANY, _start_all_reduce_many)
