"""Do all ranks run the same collectives? Compared before a compiled graph first runs, without waiting for anybody.

Each rank projects the graph onto the collectives of each group (op, reduction, dtype, element count, bucket members,
order, source line; not the rest, since batch sizes may differ), hashes that, and sends it on the control channel under
the number of collectives that the group has run so far. In a correct program all ranks stand at the same number there,
also where only one of them compiles. Whoever serves the channel compares them and ends the job when two differ.
"""

from __future__ import annotations

import hashlib

from dtrain.collectives.world.context import get_communicator, is_initialized
from dtrain.control.client import control_client
from dtrain.graph.effects import group_of
from dtrain.graph.graph import Graph, Node


def send_schedules(graph: Graph) -> None:
    """Send the projection of `graph` on each of its groups. Returns at once; without a channel does nothing."""
    if not is_initialized():
        return
    client = control_client()
    if client is None:
        return
    for group, text in project(graph).items():
        communicator = get_communicator(group)
        if communicator.size > 1:
            digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
            client.send_schedule(group, communicator.counters.collective_calls, digest, text)


def project(graph: Graph) -> dict[str, str]:
    """For each group the text of its collectives in order, one a line."""
    lines: dict[str, list[str]] = {}
    for node in graph.nodes:
        if (name := group_of(node)) is not None:
            group = lines.setdefault(name, [])
            group.append(f"{len(group)}: {_describe(node)}")
    return {group: "\n".join(text) for group, text in lines.items()}


def _describe(node: Node) -> str:
    reduction = node.attrs.get("op")
    call = f"{node.op.name}({reduction})" if reduction else node.op.name
    members = node.attrs.get("labels") or tuple(filter(None, [node.attrs.get("label")]))
    sizes = "+".join(str(value.type.size) for value in node.inputs[: max(1, len(members))])
    root = f" root={node.attrs['root']}" if "root" in node.attrs else ""
    named = f" [{', '.join(members)}]" if members else ""
    source = f"  # {node.source}" if node.source else ""
    return f"{call} {node.inputs[0].type.dtype.tag} x {sizes}{root}{named}{source}"
