"""Reverse-mode differentiation over the tape.

`backward` walks the recorded applications from the newest to the oldest and calls each op's gradient rule, which is
written with the same functions as user code: it therefore runs eagerly, inside a trace, and, with `create_graph`,
under a further derivative.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.spelling import spelled
from dtrain.core.apply import apply, refresh_views
from dtrain.core.context import context, set_grad_enabled
from dtrain.core.tape import TapeNode
from dtrain.core.tensor import Tensor, install_methods
from dtrain.core.tensor_factory import ones_like, zeros_like
from dtrain.core.tensor_gradient import GradHook, grad_where_it_lies
from dtrain.graph.op import get_op
from dtrain.kernels.device_arrays import copy_of, owner_of

Gradients = dict[Tensor, Tensor]
_NOTHING: AbstractContextManager[None] = nullcontext()


@dataclass(slots=True)
class BackwardPass:
    """One `backward()` under way: what gradient rules ask of it (`core/listeners.py`)."""

    replaced: dict[Tensor, Tensor | None] = field(default_factory=dict)
    at_end: list[Callable[[], None]] = field(default_factory=list)


@contextmanager
def _inside(backward_pass: BackwardPass | None) -> Iterator[None]:
    before, context.backward_pass = context.backward_pass, backward_pass
    try:
        yield
    finally:
        context.backward_pass = before


def backward(root: Tensor, gradient: Tensor | None = None, *, retain_graph: bool = False) -> None:
    """Add d(root)/d(leaf) to the `grad` of every leaf that `root` depends on and that requires gradients.

    Args:
        root: a tensor with a history; a scalar unless `gradient` is given.
        gradient: d(objective)/d(root), of root's type; ones for a scalar.
        retain_graph: keep the history, so that backward can run again.
    """
    seed = _seed(root, gradient)
    backward_pass = BackwardPass()
    with _inside(backward_pass):
        gradients = _walk([root], [seed], retain_graph=retain_graph, create_graph=False)
    gradients = _unshared(gradients, seed)
    with set_grad_enabled(False):
        for leaf, replaced in backward_pass.replaced.items():
            leaf.grad = replaced
        for finish in backward_pass.at_end:
            finish()
        for leaf, value in gradients.items():
            _accumulate(leaf, value)


@spelled
def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Tensor | Sequence[Tensor | None] | None = None,
    *,
    retain_graph: bool = False,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Tensor | None, ...]:
    """d(outputs)/d(inputs) as new tensors; the `grad` of leaves stays as it is.

    Args:
        grad_outputs: d(objective)/d(output), of the type of each output; None, also for one of them, is 1 for a scalar.
        create_graph: record the computation of the gradients, so that they can be differentiated again.
        allow_unused: give None for an input that no output depends on, instead of an error.
    """
    roots = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    wanted = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    for position, tensor in enumerate(wanted):
        if not tensor.requires_grad:
            raise RuntimeError(
                expected("grad", f"input {position} to require gradients", str(tensor.type), "call requires_grad_()")
            )
    if grad_outputs is None:
        grad_outputs = [None] * len(roots)
    given = [grad_outputs] if isinstance(grad_outputs, Tensor) else list(grad_outputs)
    if len(given) != len(roots):
        raise ValueError(expected("grad", f"one of grad_outputs for each of {len(roots)} outputs", str(len(given))))
    seeds = [_seed(root, seed) for root, seed in zip(roots, given)]
    found: dict[int, Tensor] = {}

    def collect(position: int) -> GradHook:
        def hook(value: Tensor) -> None:
            found[position] = value

        return hook

    removers = [tensor.register_grad_hook(collect(i)) for i, tensor in enumerate(wanted)]
    try:
        leading = _nodes_between(roots, wanted)
        with _inside(None):
            _walk(roots, seeds, retain_graph=retain_graph or create_graph, create_graph=create_graph, only=leading)
    finally:
        for remove in removers:
            remove()
    for position, tensor in enumerate(wanted):
        if position not in found and not allow_unused:
            raise RuntimeError(
                expected("grad", f"outputs that depend on input {position}", str(tensor.type), "pass allow_unused=True")
            )
    return tuple(found.get(i) for i in range(len(wanted)))


def _seed(root: Tensor, gradient: Tensor | None) -> Tensor:
    if root.base is not None and context.tracer is None:
        refresh_views([root])
    if not root.requires_grad:
        raise RuntimeError(
            "backward: expected a tensor that depends on one with requires_grad=True, got one without a history; "
            "it may have been computed under no_grad or inside a traced function (call backward inside that function)"
        )
    if gradient is None:
        if root.size != 1:
            raise ShapeError(expected("backward", "a scalar, or its gradient as argument", str(root.type)))
        return ones_like(root)
    if gradient.type is not root.type:
        raise _wrong_type("backward", root, gradient)
    return gradient


class _Walk:
    """Gradients on their way: per tape node one slot an output, and the leaves in order of readiness."""

    def __init__(self) -> None:
        self.pending: dict[TapeNode, list[Tensor | None]] = {}
        self.heap: list[tuple[int, TapeNode]] = []
        self.leaves: Gradients = {}

    def add(self, tensor: Tensor, node: TapeNode | None, index: int, value: Tensor) -> None:
        """Add the gradient of output `index` of `node`, or of the leaf `tensor`."""
        if node is None:
            # Taken out and put in again, so that leaves stand in the order in which they became complete.
            before = self.leaves.pop(tensor, None)
            self.leaves[tensor] = value if before is None else _add(before, value)
            return
        slots = self.pending.get(node)
        if slots is None:
            slots = self.pending[node] = [None] * len(node.output_types)
            heapq.heappush(self.heap, (-node.order, node))
        before = slots[index]
        slots[index] = value if before is None else _add(before, value)


def _nodes_between(roots: Sequence[Tensor], wanted: Sequence[Tensor]) -> set[TapeNode]:
    """The nodes on a way from a root to a wanted tensor: no other gradient rule has to run, nor its collectives."""
    goals = {(tensor.node, tensor.index) for tensor in wanted if tensor.node is not None}
    leaves = {tensor for tensor in wanted if tensor.node is None}
    leads: dict[TapeNode, bool] = {}
    stack = [root.node for root in roots if root.node is not None]
    while stack:
        node = stack[-1]
        waiting = [source for source, _ in node.edges if source is not None and source not in leads]
        if waiting:
            stack += waiting
            continue
        stack.pop()
        leads[node] = not node.inputs or any(  # a freed history may have led anywhere: the walk says so
            tensor in leaves if source is None else (source, index) in goals or leads[source]
            for tensor, (source, index) in zip(node.inputs, node.edges)
        )
    # A wanted output's own node is entered for its hooks, which see the complete gradient.
    return {node for node, is_leading in leads.items() if is_leading} | {node for node, _ in goals}


def _walk(
    roots: Sequence[Tensor],
    seeds: Sequence[Tensor],
    *,
    retain_graph: bool,
    create_graph: bool,
    only: set[TapeNode] | None = None,
) -> Gradients:
    walk = _Walk()
    tracer = context.tracer
    with set_grad_enabled(create_graph):
        for root, seed in zip(roots, seeds):
            walk.add(root, root.node, root.index, seed)
        with tracer.origins.backward() if tracer is not None else _NOTHING:
            while walk.heap:
                _, node = heapq.heappop(walk.heap)
                if only is not None and node not in only:
                    del walk.pending[node]
                    continue
                if tracer is not None:
                    tracer.origins.begin_gradient_of(node)
                _step(walk, node, walk.pending.pop(node))
                if not retain_graph:
                    node.release()
        # Leaves that were frozen after forward get none, as those that were frozen before.
        return {leaf: _run_hooks(leaf.hooks, value) for leaf, value in walk.leaves.items() if leaf.requires_grad}


def _step(walk: _Walk, node: TapeNode, slots: list[Tensor | None]) -> None:
    if not node.inputs:
        raise RuntimeError(
            f"backward: expected the history of {node.name}, which an earlier backward has freed; "
            "pass retain_graph=True to that one"
        )
    node.check_versions()
    if node.hooks:
        for index, hooks in node.hooks.items():
            if (value := slots[index]) is not None:
                slots[index] = _run_hooks(hooks, value)
    results = node.grad(node, *[_or_zeros(node, i, value) for i, value in enumerate(slots)])
    edges = zip(node.inputs, node.edges, node.needs_grad, results, strict=True)
    for tensor, (source, index), needed, value in edges:
        if needed and value is not None:
            if value.type is not tensor.type:
                raise _wrong_type(f"gradient of {node.name}", tensor, value)
            walk.add(tensor, source, index, value)


def _or_zeros(node: TapeNode, index: int, value: Tensor | None) -> Tensor | None:
    if value is not None or node.partial_grads or not node.output_types[index].dtype.is_floating:
        return value
    return zeros_like(node.output_types[index])


def _wrong_type(where: str, tensor: Tensor, value: Tensor) -> Exception:
    error = ShapeError if value.shape != tensor.shape else DtypeError
    return error(expected(where, f"a gradient of type {tensor.type}", str(value.type)))


def _run_hooks(hooks: Sequence[GradHook], value: Tensor) -> Tensor:
    for hook in hooks:
        if context.tracer is not None:
            context.tracer.reads.note_value(hook)
        replaced = hook(value)
        value = value if replaced is None else replaced
    return value


def _add(first: Tensor, second: Tensor) -> Tensor:
    return apply(get_op("add"), first, second)


def _unshared(gradients: Gradients, seed: Tensor) -> Gradients:
    """Give each leaf a gradient in memory of its own.

    Rules hand on what they get (x + y gives both inputs the same tensor) and views of it, but whoever changes the
    `grad` of one leaf in place must change no other.
    """
    if context.tracer is not None:
        # Values of a graph share nothing; only the handles must differ. The executor sees to the memory.
        return {leaf: context.tracer.own(value) for leaf, value in gradients.items()}
    taken = {id(owner_of(seed.array))}
    result = {}
    for leaf, value in gradients.items():
        array = value.array
        owner = id(owner_of(array))
        if owner in taken or not array.flags.c_contiguous or not getattr(array.flags, "writeable", True):
            value = Tensor(copy_of(array), value.type)
        taken.add(owner)
        result[leaf] = value
    return result


def _accumulate(leaf: Tensor, value: Tensor) -> None:
    """Set or add: a sum is a new tensor, and a gradient that somebody has kept stays as it is."""
    before = grad_where_it_lies(leaf)
    if before is None:
        leaf.grad = value
    elif context.tracer is None:
        leaf.grad = _add(before, value)
    else:
        context.tracer.add_to_grad(leaf, _add(before, value))


install_methods({"backward": backward})
