"""The graph pass that packs gradient all-reduces into buckets (MegEngine's PackAllReduce, without its copies).

A bucket is one `all_reduce_many` node: the memory plan lays its inputs one after another, and the kernels that compute
the gradients write them there. Each bucket stands right behind the node that completes it.

What is merged, and in which order collectives run, must not depend on anything that may differ between ranks: nodes
vanish where a batch has one sample or none. So packed all-reduces have one key (group, reduce op, weight, dtype,
device, bucket_bytes) and one bunch (a backward pass), they keep the bunch's order, and no bucket passes another
collective. Those without a bunch are taken in the order in which their inputs become ready.

An all-reduce is only ever moved towards the begin of the graph: a bucket stands before the first of its members. Its
inputs are complete there, so none of them depends on a result of the bucket, and whoever reads a result comes later.
All-reduces of two backward passes, the second of which depends on the first, therefore stay apart.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from dtrain.base.errors import expect_kind
from dtrain.collectives.memory.bucket import Bucket
from dtrain.graph.constant import CONSTANT
from dtrain.graph.editor import Editor
from dtrain.graph.effects import group_of
from dtrain.graph.graph import Graph, Node, Value
from dtrain.graph.op import get_op
from dtrain.runtime.buckets import may_lie_in_bucket


@dataclass(frozen=True, slots=True)
class _Member:
    """An all-reduce to pack: where it stands, behind which position it can begin, whether it is copied in."""

    node: Node
    position: int
    begin: int
    is_copied: bool


def pack_all_reduce(graph: Graph) -> None:
    """Merge the all-reduces with a `bucket` attribute above 0."""
    if not any(map(_may_be_packed, graph.nodes)):
        return
    _put_weights_first(graph)
    with Editor(graph) as editor:
        nodes = graph.nodes
        buckets = [bucket for members in _candidates(editor).values() for bucket in _divide(members)]
        placed = -1  # the position of the last bucket, and of any other collective before it
        last: Node | None = None  # what was inserted there last
        packed = []
        for bucket in sorted(buckets, key=lambda bucket: min(member.position for member in bucket)):
            begin = max(placed, *(member.begin for member in bucket))
            if begin > placed:
                placed, last = begin, nodes[begin]
            last = _pack(editor, bucket, last)
            packed.append((bucket, last.outputs))
        for bucket, values in packed:
            for member, value in zip(bucket, values):
                editor.replace(member.node, [value], reason=f"one message for {len(bucket)} gradients")


def _put_weights_first(graph: Graph) -> None:
    """A weight is known before backward and named behind it, where averaging begins: no bucket shall wait for that."""
    packed = [node for node in graph.nodes if _may_be_packed(node)]
    weights = [value.node for node in packed for value in node.inputs[1:] if value.node is not None]
    with Editor(graph) as editor:
        for weight in dict.fromkeys(node for node in weights if node.op is CONSTANT):
            reason = "a constant that buckets read"
            moved = editor.insert_after(None, weight.op, (), weight.attrs, like=weight, reason=reason)
            editor.replace(weight, moved.outputs, reason=reason)


def _may_be_packed(node: Node) -> bool:
    return node.op.name == "all_reduce" and bool(node.attrs.get("bucket_bytes"))


def _candidates(editor: Editor) -> dict[Hashable, list[_Member]]:
    """All-reduces that may be packed, per key, keys in order of their first appearance."""
    nodes = editor.graph.nodes
    places = {node: position for position, node in enumerate(nodes)}
    groups: dict[Hashable, list[_Member]] = {}
    first: dict[Hashable, int] = {}
    other = -1  # the last collective that stays where it is
    for position, node in enumerate(nodes):
        if group_of(node) is not None and not _may_be_packed(node):
            other = position
        elif _may_be_packed(node):
            value, *weights = node.inputs
            attrs = node.attrs
            bunch = attrs.get("bunch", 0)
            key = (
                other,
                bunch,
                attrs["group"],
                attrs["op"],
                *weights,
                value.type.dtype,
                value.type.device,
                attrs["bucket_bytes"],
            )
            before = first.setdefault(key, position) if bunch else position
            readers = {reader: places[reader] for reader in editor.readers(value)}
            is_copied = (
                editor.is_result(value)
                or (value.node is not None and _lies_in_bucket(value.node))
                or not may_lie_in_bucket(value, before, {**readers, node: before})  # where its bucket may stand
            )
            begins = [other, *(-1 if made.node is None else places[made.node] for made in node.inputs)]
            if not is_copied:  # others read it before it is overwritten
                begins += [place for reader, place in readers.items() if reader is not node]
            groups.setdefault(key, []).append(_Member(node, position, max(begins), is_copied))
    return groups


def _lies_in_bucket(node: Node) -> bool:
    """Whether outputs of a node lie in a bucket already, which has its members next to each other."""
    return node.op.name == "all_reduce_many" or _may_be_packed(node)


def _divide(members: list[_Member]) -> list[list[_Member]]:
    """Buckets, each closed before it would pass `bucket_bytes` or wait for a result of its own."""
    if not members[0].node.attrs.get("bunch"):
        members = sorted(members, key=lambda member: member.begin)
    buckets: list[list[_Member]] = []
    filled = begin = first = 0
    for member in members:
        size = member.node.inputs[0].type.nbytes
        begin, first = max(begin, member.begin), min(first, member.position)
        if not buckets or filled + size > member.node.attrs["bucket_bytes"] or begin >= first:
            buckets.append([])
            filled, begin, first = 0, member.begin, member.position
        buckets[-1].append(member)
        filled += size
    return buckets


def _pack(editor: Editor, members: list[_Member], behind: Node | None) -> Node:
    """Insert one bucket: copies for inputs that cannot lie in it, then the packed collective, which comes back."""
    inputs: list[Value] = []
    for member in members:
        value = member.node.inputs[0]
        if value in inputs or member.is_copied:
            reason = "its input cannot lie in a bucket"
            behind = editor.insert_after(behind, get_op("copy"), (value,), like=member.node, reason=reason)
            value = behind.outputs[0]
        inputs.append(value)
    first = members[0].node
    attrs = {
        "group": first.attrs["group"],
        "op": first.attrs["op"],
        "labels": tuple(member.node.attrs["label"] for member in members),
    }
    reason = f"a bucket of {len(members)} gradients"
    return editor.insert_after(
        behind, get_op("all_reduce_many"), [*inputs, *first.inputs[1:]], attrs, like=first, reason=reason
    )


def bucket_plan(graph: Graph) -> list[Bucket]:
    """The messages that carry gradients in a graph, in order: packed buckets, and all-reduces that stayed alone."""
    expect_kind("bucket_plan", graph, Graph, "the graph of a traced function")
    plan = []
    for node in graph.nodes:
        if node.op.name == "all_reduce_many" and any(node.attrs["labels"]):
            labels = node.attrs["labels"]
        elif node.op.name == "all_reduce" and node.attrs.get("label"):
            labels = (node.attrs["label"],)
        else:
            continue
        nbytes = sum(value.type.nbytes for value in node.inputs[: len(labels)])
        plan.append(Bucket(labels, node.inputs[0].type.dtype.tag, nbytes))
    return plan
