"""The graph pass that packs gradient all-reduces into buckets (MegEngine's PackAllReduce, without its copies).

All-reduces of one key (group, reduce op, dtype, device, cap) are taken in the order in which their inputs become
ready, never in hash order, so that all ranks make the same buckets. A bucket is one `all_reduce_many` node: the memory
plan lays its inputs one after another, and the kernels that compute the gradients write them there. Each bucket stands
right behind the node that completes it.
"""

from __future__ import annotations

from collections.abc import Hashable

from dtrain.collectives.bucket import Bucket, divide
from dtrain.collectives.ops import ALL_REDUCE, ALL_REDUCE_MANY
from dtrain.graph.graph import Graph, Node, Value
from dtrain.graph.op import get_op


def pack_all_reduce(graph: Graph) -> None:
    """Merge the all-reduces with a `bucket` attribute above 0."""
    groups = _candidates(graph)
    if not groups:
        return
    ready = {value: position for position, node in enumerate(graph.nodes) for value in node.outputs}
    readers = graph.readers()
    results = set(graph.results())
    behind: dict[int, list[Node]] = {}
    replacement: dict[Value, Value] = {}
    packed: set[Node] = set()
    for nodes in groups.values():
        nodes.sort(key=lambda node: ready.get(node.inputs[0], -1))
        sizes = [node.inputs[0].type.nbytes for node in nodes]
        for part in divide(sizes, nodes[0].attrs["bucket"]):
            members = [nodes[i] for i in part]
            position = max(ready.get(node.inputs[0], -1) for node in members)
            made = _pack(members, readers, results)
            behind.setdefault(position, []).extend(made)
            replacement.update((node.outputs[0], value) for node, value in zip(members, made[-1].outputs))
            packed.update(members)
    graph.nodes = _rebuild(graph.nodes, behind, packed)
    graph.replace_values(replacement)


def _candidates(graph: Graph) -> dict[Hashable, list[Node]]:
    """Nodes that may be packed, per key, keys in order of their first appearance."""
    groups: dict[Hashable, list[Node]] = {}
    for node in graph.nodes:
        if node.op is ALL_REDUCE and node.attrs.get("bucket"):
            type, attrs = node.inputs[0].type, node.attrs
            groups.setdefault((attrs["group"], attrs["op"], type.dtype, type.device, attrs["bucket"]), []).append(node)
    return groups


def _pack(members: list[Node], readers: dict[Value, list[Node]], results: set[Value]) -> list[Node]:
    """The nodes of one bucket: copies for inputs that cannot lie in it, then the packed collective."""
    made: list[Node] = []
    inputs: list[Value] = []
    for node in members:
        (value,) = node.inputs
        if value in inputs or not _can_lie_in_bucket(value, readers, results):
            copy = Node(get_op("copy"), (value,), (value.type,), source=node.source)
            made.append(copy)
            value = copy.outputs[0]
        inputs.append(value)
    first = members[0]
    attrs = {
        "group": first.attrs["group"],
        "op": first.attrs["op"],
        "labels": tuple(node.attrs["label"] for node in members),
    }
    made.append(Node(ALL_REDUCE_MANY, inputs, [value.type for value in inputs], attrs, source=first.source))
    return made


def _can_lie_in_bucket(value: Value, readers: dict[Value, list[Node]], results: set[Value]) -> bool:
    """Whether its producer may write it into the bucket, where the sum over the ranks will replace it."""
    node = value.node
    if node is None or node.op.view is not None or node.op.name == "constant" or node.op.contiguous:
        return False
    if value.index in node.op.aliases_of(node.attrs):
        return False
    return value not in results and len(readers[value]) == 1


def _rebuild(nodes: list[Node], behind: dict[int, list[Node]], packed: set[Node]) -> list[Node]:
    rebuilt = list(behind.get(-1, []))
    for position, node in enumerate(nodes):
        if node not in packed:
            rebuilt.append(node)
        rebuilt += behind.get(position, [])
    return rebuilt


def bucket_plan(graph: Graph) -> list[Bucket]:
    """The messages that carry gradients in a graph, in order: packed buckets, and all-reduces that stayed alone."""
    plan = []
    for node in graph.nodes:
        if node.op is ALL_REDUCE_MANY:
            labels = node.attrs["labels"]
        elif node.op is ALL_REDUCE and node.attrs.get("label"):
            labels = (node.attrs["label"],)
        else:
            continue
        nbytes = sum(value.type.nbytes for value in node.inputs)
        plan.append(Bucket(labels, node.inputs[0].type.dtype.tag, nbytes))
    return plan
