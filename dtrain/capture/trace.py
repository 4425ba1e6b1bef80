"""`trace`: capture a function of tensors as a graph at its first call, and run the optimized graph from then on.

The passes that optimize the graph are a value in the context of the thread (`core/graph_passes.py`). Whoever must
look at a graph before its first run hands itself in through `add_first_run_listener`.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from threading import get_ident
from types import MethodType
from typing import Any, Generic, ParamSpec, TypeVar, overload

import numpy as np

from dtrain.base.errors import TraceError, expected
from dtrain.base.user_source import user_source
from dtrain.capture.both_ways import both_ways
from dtrain.capture.capture import Capture
from dtrain.capture.naming import name_capture, variables_of
from dtrain.capture.structure import LEAF, flatten, unflatten, values_of
from dtrain.capture.tracer import Tracer
from dtrain.capture.watched import reporting_reads
from dtrain.core.apply import apply
from dtrain.core.context import GraphPasses, context, is_grad_enabled
from dtrain.core.tensor import LentGradient, Tensor, as_tensor
from dtrain.graph.graph import Graph
from dtrain.graph.op import get_op
from dtrain.graph.verify import verify
from dtrain.kernels.device_arrays import copy_of, overwrite
from dtrain.runtime.executor import Executor, StateTypeError
from dtrain.runtime.unfinished_runs import tell_unfinished

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
FirstRunListener = Callable[[Graph], None]

_MAX_VARIANTS = 8  # captures kept for one combination of types and values
_MAX_KEYS = 64  # combinations before a warning
_first_run_listeners: list[FirstRunListener] = []


def add_first_run_listener(listener: FirstRunListener) -> None:
    """Call `listener(graph)` with every optimized graph before it first runs."""
    _first_run_listeners.append(listener)


class CompiledGraph:
    """One capture: its graph, what it relies on, its effects, and the executor."""

    def __init__(self, capture: Capture, *, overlap: bool = False) -> None:
        self.graph = capture.graph
        self.capture = capture
        # Gradients that stay behind in leaves; all other outputs leave the executor's memory.
        self.gradients: list[Tensor] = []
        self._found: dict[int, Tensor] = {}  # copies of those for runs that find them, by position of the state
        self._effects: list[tuple[Tensor, Tensor | None]] = []
        for leaf, grad in capture.effects:
            if grad is not None and grad.is_symbolic:
                grad = LentGradient(None, grad.type)
                self.gradients.append(grad)
            self._effects.append((leaf, grad))
        num_results = len(self.graph.outputs) - len(self.gradients)
        self._result_types = [value.type for value in self.graph.outputs]
        self._state_types = [value.type for value in self.graph.states]
        added_to = {item.position for item in capture.gradient_states if item.is_added_to}
        changed = [capture.states[position] for position in self.graph.updates if position not in added_to]
        self._changed = {id(tensor) for tensor in [*changed, *(leaf for leaf, _ in capture.effects)]}
        self.executor = Executor(
            self.graph,
            capture.states,
            num_results=num_results,
            written_arguments=capture.written_arguments,
            overlap=overlap,
        )

    def is_valid(self, arguments: Sequence[Tensor]) -> bool:
        """Whether a call with these arguments now would be captured in the same way."""
        return self.capture.is_valid(arguments)

    def run(self, arguments: Sequence[Tensor]) -> Any:
        """Run on these arguments, and repeat what the function did besides."""
        capture, executor = self.capture, self.executor
        if self._changed or capture.written_arguments:
            try:
                self._expect_separate(arguments)
            except BaseException:
                tell_unfinished([None, *self.graph.nodes])
                raise
        for item in capture.gradient_states:
            if item.position is not None and item.leaf._grad is not None:
                if item.is_added_to:
                    executor.states[item.position] = self._to_add_to(item.leaf, item.leaf._grad)
                else:
                    executor.states[item.position] = self._outside_of_kept_memory(item.position, item.leaf._grad)
        arrays = executor.run([tensor.concrete("a traced function's argument") for tensor in arguments])
        results = [Tensor(array, type) for array, type in zip(arrays, self._result_types)]
        for gradient, array in zip(self.gradients, executor.kept):
            gradient.array = array
        for leaf, kept in self._effects:
            leaf._grad = kept
        for owner, attribute, value in capture.changes:
            setattr(owner, attribute, value)
        if capture.written_arguments or capture.argument_gradients:
            self._change_arguments(arguments, results[capture.num_results :])
        return unflatten(capture.structure, results)

    def _to_add_to(self, leaf: Tensor, gradient: Tensor) -> Tensor:
        """The gradient of `leaf` in memory that this run may write: a copy, once, of one that somebody may keep."""
        if type(gradient) is not LentGradient or any(gradient is kept for kept in self.gradients):
            gradient = leaf._grad = LentGradient(copy_of(gradient.concrete("a gradient")), gradient.type)
        return gradient

    def _outside_of_kept_memory(self, position: int, gradient: Tensor) -> Tensor:
        """A gradient that a run finds; a copy if an earlier run has left it in memory that this one writes."""
        # Looked at here too, since this may be another tensor on the array that the executor is bound to.
        if gradient.type is not self._state_types[position]:
            wanted = f"a gradient of type {self._state_types[position]}"
            raise StateTypeError(expected("traced function", wanted, str(gradient.type)))
        if not any(gradient is kept for kept in self.gradients):
            return gradient
        array = gradient.concrete("a gradient")
        if position not in self._found:
            self._found[position] = Tensor(copy_of(array), gradient.type)
        else:
            overwrite(self._found[position].array, array)
        return self._found[position]

    def _expect_separate(self, arguments: Sequence[Tensor]) -> None:
        for tensor in arguments:
            if id(tensor) in self._changed:
                raise both_ways(user_source(), tensor)
        for position in self.capture.written_arguments:
            tensor = arguments[position]
            if sum(other.array is tensor.array for other in arguments) > 1:
                raise both_ways(user_source(), tensor)

    def _change_arguments(self, arguments: Sequence[Tensor], computed: Sequence[Tensor]) -> None:
        remaining = iter(computed)
        for position in self.capture.written_arguments:
            arguments[position].assign_(next(remaining))
        for item in self.capture.argument_gradients:
            leaf, gradient = arguments[item.position], None if item.gradient is None else next(remaining)
            if leaf.node is not None:
                raise TraceError(
                    expected(
                        "backward in a traced function",
                        f"arguments without a history, since it ends at argument {item.position}",
                        f"{leaf.type}, computed by {leaf.node.name} outside",
                        "compute it inside, or detach() it",
                    )
                )
            if item.adds and gradient is not None and leaf._grad is not None:
                gradient = apply(get_op("add"), leaf._grad, gradient)
            leaf._grad = gradient


class TracedFunction(Generic[Parameters, Result]):
    """A function whose calls run as graphs, one per combination of input types and non-tensor arguments."""

    def __init__(
        self, function: Callable[Parameters, Result], *, passes: GraphPasses | None = None, overlap: bool = False
    ) -> None:
        functools.update_wrapper(self, function)
        self.name = getattr(function, "__name__", "graph").strip("<>")
        self._function = function
        self._passes = passes
        self._overlap = overlap
        self._compiled: dict[Any, list[CompiledGraph]] = {}
        self._warned: set[str] = set()

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if context.tracer is not None:
            context.tracer.reads.note_value(self._function)
            return self._function(*args, **kwargs)
        # The usual call has tensors only; taking it apart would cost more than all other checks together.
        arguments = [value for value in args if isinstance(value, Tensor)]
        if not kwargs and len(arguments) == len(args):
            structure = _only_tensors(len(args))
        else:
            arguments, structure = flatten((args, kwargs), tensors=_as_argument)
        types = tuple([(tensor.type, tensor.requires_grad) for tensor in arguments])
        # Ranks may be threads, and an executor is one run at a time: every thread has captures of its own.
        passes = context.pipeline if self._passes is None else self._passes
        key = (structure, types, is_grad_enabled(), get_ident(), passes)
        try:
            variants = self._compiled.setdefault(key, [])
        except TypeError:
            raise TraceError(
                expected(
                    f"traced function {self.name}",
                    "tensors and hashable values as arguments",
                    f"an unhashable one in {structure}",
                )
            ) from None
        for compiled in variants:
            if compiled.is_valid(arguments):
                try:
                    return compiled.run(arguments)  # type: ignore[no-any-return]
                except StateTypeError:
                    continue  # a module moved to another dtype, or a parameter of another shape: another capture
        compiled = self._compile(variants, arguments, structure, passes)
        try:
            return compiled.run(arguments)  # type: ignore[no-any-return]
        except TraceError:
            variants.remove(compiled)  # it was captured in a situation that a trace cannot be in
            raise

    def __repr__(self) -> str:
        count = len(self.graphs)
        return f"<traced function {self.name}, {count} graph{'' if count == 1 else 's'}>"

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else MethodType(self, instance)

    @property
    def graphs(self) -> list[Graph]:
        """The optimized graphs captured so far, oldest first."""
        return [compiled.graph for variants in self._compiled.values() for compiled in variants]

    @property
    def compiled(self) -> list[CompiledGraph]:
        """The captures so far, oldest first."""
        return [compiled for variants in self._compiled.values() for compiled in variants]

    def _compile(
        self, variants: list[CompiledGraph], arguments: Sequence[Tensor], structure: Any, passes: GraphPasses
    ) -> CompiledGraph:
        if len(variants) == _MAX_VARIANTS:
            what = variants[-1].capture.changed(arguments) or "the dtype or shape of a tensor from outside"
            variants.pop(0)
            self._warn_once(
                f"traced function {self.name} was captured {_MAX_VARIANTS} times for the same input types: it reads "
                f"what changes at every call ({what}); pass that as a tensor, or leave it out of the function"
            )
        if len(self._compiled) == _MAX_KEYS:
            self._warn_once(
                f"traced function {self.name} was captured for {_MAX_KEYS} combinations of input types and values: "
                "pass what changes at every call as a tensor, and pad inputs to few shapes"
            )
        compiled = _optimize(self._capture(arguments, structure), passes, self._overlap)
        for listener in _first_run_listeners:
            listener(compiled.graph)
        variants.append(compiled)
        return compiled

    def _warn_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            warnings.warn(text, stacklevel=4)

    def _capture(self, arguments: Sequence[Tensor], structure: Any) -> Capture:
        tracer = Tracer(self.name)
        symbolic = [tracer.add_argument(tensor, f"arg{i}") for i, tensor in enumerate(arguments)]
        args, kwargs = unflatten(structure, symbolic)
        try:
            with reporting_reads():
                tracer.reads.note_arguments(self._function, values_of(structure))
                context.tracer = tracer
                result = self._function(*args, **kwargs)
            outputs, output_structure = flatten(result, tensors=_as_result)
            capture = tracer.finish(outputs)
        except TraceError:
            raise  # whoever catches it runs the function without a trace
        except BaseException:
            tell_unfinished([None, *tracer.graph.nodes])
            raise
        finally:
            context.tracer = None
            tracer.restore_grads()
            tracer.restore_changes()
            tracer.restore_histories()
        capture.structure = output_structure
        variables = variables_of(self._function, args, kwargs)
        name_capture(capture, symbolic, tracer.reads.watched(), variables, tracer.origins.owners)
        return capture


def _optimize(capture: Capture, passes: GraphPasses, overlap: bool) -> CompiledGraph:
    verify(capture.graph, after="capture")
    capture.graph = passes(capture.graph)
    return CompiledGraph(capture, overlap=overlap)


@functools.cache
def _only_tensors(count: int) -> Any:
    """What `flatten` gives for a call with `count` tensors and nothing else."""
    return (tuple, (tuple, *[LEAF] * count), (dict,))


def _as_argument(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    is_array = isinstance(value, np.ndarray) or type(value).__module__.partition(".")[0] == "cupy"
    return as_tensor(value) if is_array else None


def _as_result(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    if isinstance(value, bool | int | float | str | None):
        return None
    raise TraceError(
        expected(f"trace at {user_source()}", "a result of tensors, numbers, tuples, lists and dicts", repr(value))
    )


@overload
def trace(function: Callable[Parameters, Result], /) -> TracedFunction[Parameters, Result]: ...
@overload
def trace(
    *, passes: GraphPasses | None = None, overlap: bool = False
) -> Callable[[Callable[Parameters, Result]], TracedFunction[Parameters, Result]]: ...
def trace(function: Any = None, /, *, passes: GraphPasses | None = None, overlap: bool = False) -> Any:
    """Capture a function of tensors as one graph per input types, optimize it, and run that.

    Forward, `backward()`, collectives and optimizer updates inside all become part of the graph. Python runs only
    during the capture: branches on tensor values raise TraceError naming the line, and prints happen once.

    Another capture is made when something changes from outside that the function had read: attributes of modules,
    optimizers and other objects (training mode, p, eps, a parameter, a child, a hook), globals and closure variables
    that the function, a `forward`, a hook or a helper function names, what it reads from Python modules and classes,
    what lists, dicts, sets and dataclasses among these and among its arguments hold, numbers that it takes out of
    tensors (`scale.item()`), whether gradients are there, and the world.

    Frozen at the capture is every other Python value that went into it:
    - random numbers of NumPy and `random`, the time, files, the environment (`dtrain.functional.uniform` is drawn anew
      in every run),
    - the elements of NumPy arrays (make them tensors: those are read in every run),
    - what is looked up by a name that is computed in `globals()` or a class, in `sys.modules`, or in frames; attributes
      of objects whose class is Python's, NumPy's or an extension module's; and what is set past a module, as by
      `vars(module)["p"] = 1`, where the function reads `module.p`,
    - whatever the function changes itself: a counter, `losses.append(loss)`, `x.total = x.total + loss` happen once,
      and the tensor left there has no numbers: asked for them, or pickled, it says which function it left. Return it,
      or keep it in a tensor: `total.add_(loss.detach())` is done in every run.

    Results are new tensors, as of their run, which share memory with no argument, no state and no other result:
    `return model.state_dict()` gives copies.

    Args:
        function: takes tensors (also NumPy arrays, and both nested in lists, tuples and dicts), slices and hashable
            values.
        passes: what optimizes the graph, instead of the pipeline of the thread (`dtrain.graph_passes`).
        overlap: begin the all-reduce of a bucket of gradients where the last of them is computed, and wait for it where
            its results are read: kernels in between run meanwhile. The numbers are the same, bit for bit.
    """
    if function is None:
        return lambda inner: TracedFunction(inner, passes=passes, overlap=overlap)
    if not callable(function):
        advice = "for the sum of a matrix' diagonal write x.diagonal().sum()"
        raise TypeError(expected("trace", "a function of tensors", type(function).__name__, advice))
    return TracedFunction(function, passes=passes, overlap=overlap)
