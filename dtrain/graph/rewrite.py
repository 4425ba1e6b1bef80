"""Rules: values that say which piece of a graph may be computed by which other, when, and what that is good for.

Rules run until none applies any more. They are tried at every node in order of execution, at each in the order given,
so the result depends on nothing but the graph; a graph that was rewritten stays as it is when rewritten again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dtrain.base.errors import GraphError, expected
from dtrain.graph.editor import Editor
from dtrain.graph.effects import may_drop
from dtrain.graph.graph import Graph, Node, Value
from dtrain.graph.pattern import CallOf, Condition, Match, match

_MAX_REWRITES_PER_NODE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rewrite: what `pattern` computes may, if `condition` holds, be computed as `replacement` says.

    pattern: of ops with one output.
    replacement: (editor, match) -> the value to read instead. It inserts its nodes by `editor.insert_before` in front
        of `match.node`.
    reason: what it is good for; stands in the record of changes.
    condition: (match) -> whether it applies.
    keeps_check: what the matched node checks is checked by the replacement, or holds where the rule applies. A node
        that checks values is left alone by all other rules.
    """

    name: str
    pattern: CallOf
    replacement: Callable[[Editor, Match], Value]
    reason: str
    condition: Condition | None = None
    keeps_check: bool = False


def rewrite(graph: Graph, rules: Sequence[Rule]) -> int:
    """Apply rules until none applies any more. Returns how often one did.

    Raises:
        GraphError: the rules come to no end, or one gives a value of another type.
    """
    by_op: dict[str, list[Rule]] = {}
    for rule in rules:
        by_op.setdefault(rule.pattern.op, []).append(rule)
    if not any(node.op.name in by_op for node in graph.nodes):
        return 0
    count, limit = 0, _MAX_REWRITES_PER_NODE * (len(graph.nodes) + 1)
    with Editor(graph) as editor:
        before = -1
        while before != count:
            before = count
            for node in editor.nodes():
                for rule in by_op.get(node.op.name, ()):
                    if _apply(rule, editor, node):
                        count += 1
                        break
                if count > limit:
                    raise GraphError(expected("rewrite", "rules that come to an end", f"{rule.name} again and again"))
    return count


def _apply(rule: Rule, editor: Editor, node: Node) -> bool:
    found = match(rule.pattern, node)
    if found is None or (rule.condition is not None and not rule.condition(found)):
        return False
    if editor.is_overwritten(found.output) or not (rule.keeps_check or may_drop(node)):
        return False
    value = rule.replacement(editor, found)
    if value.type is not found.output.type:
        raise GraphError(expected(f"rule {rule.name}", f"a value of type {found.output.type}", str(value.type)))
    if value is found.output or not editor.may_stand_for(value, found.output):
        return False
    editor.replace(node, [value], reason=f"{rule.name}: {rule.reason}", proven=rule.keeps_check)
    return True
