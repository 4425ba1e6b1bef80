"""`trace`: capture a function of tensors as a graph at its first call, and run the optimized graph from then on.

The passes that optimize the graph, and whoever must look at it before its first run, live on upper floors: they hand
themselves in through `set_pipeline` and `add_first_run_listener`.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Generic, ParamSpec, TypeVar, overload

import numpy as np

from dtrain.base.errors import TraceError, expected
from dtrain.core.context import context, is_grad_enabled
from dtrain.core.executor import Executor
from dtrain.core.structure import flatten, unflatten
from dtrain.core.tensor import Tensor, as_tensor, user_source
from dtrain.core.tracer import Guard, Tracer, symbolic_gradients
from dtrain.graph.graph import Graph
from dtrain.graph.verify import verify

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
Pipeline = Callable[[Graph], Graph]
FirstRunListener = Callable[[Graph], None]

_MAX_VARIANTS = 8
_pipeline: Pipeline | None = None
_first_run_listeners: list[FirstRunListener] = []


def set_pipeline(pipeline: Pipeline) -> None:
    """Optimize every graph with `pipeline` from now on. `dtrain.passes` does this on import."""
    global _pipeline
    _pipeline = pipeline


def add_first_run_listener(listener: FirstRunListener) -> None:
    """Call `listener(graph)` with every optimized graph before it first runs."""
    _first_run_listeners.append(listener)


class CompiledGraph:
    """One capture: its graph, guards, effects and executor."""

    def __init__(self, tracer: Tracer, output_structure: Any, effects: list[tuple[Tensor, Tensor | None]]) -> None:
        self.graph = tracer.graph
        self.guards: list[Guard] = tracer.guards
        self.output_structure = output_structure
        self.effects = effects
        self.gradients = symbolic_gradients(effects)
        self.num_results = len(self.graph.outputs) - len(self.gradients)
        self.executor = Executor(self.graph, tracer.state_tensors, num_results=self.num_results)

    def is_valid(self) -> bool:
        return all(guard.holds() for guard in self.guards)

    def run(self, arguments: Sequence[Tensor]) -> Any:
        arrays = self.executor.run([tensor.concrete("a traced function's argument") for tensor in arguments])
        for (_, gradient), array in zip(self.gradients, self.executor.kept):
            gradient.array, gradient.value, gradient.node = array, None, None
        for leaf, kept in self.effects:
            leaf._grad = kept
        results = [Tensor(array, value.type) for array, value in zip(arrays, self.graph.outputs)]
        return unflatten(self.output_structure, results)


class TracedFunction(Generic[Parameters, Result]):
    """A function whose calls run as graphs, one per combination of input types and non-tensor arguments."""

    def __init__(self, function: Callable[Parameters, Result], *, passes: Pipeline | None = None) -> None:
        functools.update_wrapper(self, function)
        self.name = getattr(function, "__name__", "graph").strip("<>")
        self._function = function
        self._passes = passes
        self._compiled: dict[Any, list[CompiledGraph]] = {}

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if context.tracer is not None:
            return self._function(*args, **kwargs)
        arguments, structure = flatten((args, kwargs), tensors=_as_argument)
        key = (structure, tuple([tensor.type for tensor in arguments]), is_grad_enabled())
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
            if compiled.is_valid():
                return compiled.run(arguments)  # type: ignore[no-any-return]
        return self._compile(variants, arguments, structure).run(arguments)  # type: ignore[no-any-return]

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else functools.partial(self, instance)

    @property
    def graphs(self) -> list[Graph]:
        """The optimized graphs captured so far, oldest first."""
        return [compiled.graph for variants in self._compiled.values() for compiled in variants]

    @property
    def compiled(self) -> list[CompiledGraph]:
        """The captures so far, oldest first."""
        return [compiled for variants in self._compiled.values() for compiled in variants]

    def _compile(self, variants: list[CompiledGraph], arguments: Sequence[Tensor], structure: Any) -> CompiledGraph:
        if len(variants) == _MAX_VARIANTS:
            warnings.warn(
                f"traced function {self.name} was captured {_MAX_VARIANTS} times for the same input types: "
                "something that it depends on (a module's training mode, a gradient being None) changes at every call",
                stacklevel=4,
            )
        tracer, output_structure, effects = self._capture(arguments, structure)
        compiled = self._optimize(tracer, output_structure, effects)
        for listener in _first_run_listeners:
            listener(compiled.graph)
        variants.append(compiled)
        return compiled

    def _capture(self, arguments: Sequence[Tensor], structure: Any) -> tuple[Tracer, Any, Any]:
        tracer = Tracer(self.name)
        symbolic = [tracer.add_argument(tensor, f"arg{i}") for i, tensor in enumerate(arguments)]
        args, kwargs = unflatten(structure, symbolic)
        context.tracer = tracer
        try:
            result = self._function(*args, **kwargs)
            outputs, output_structure = flatten(result, tensors=_as_result)
            effects = tracer.finish(outputs)
        except BaseException:
            tracer.restore_grads()
            raise
        finally:
            context.tracer = None
        tracer.restore_grads()
        return tracer, output_structure, effects

    def _optimize(self, tracer: Tracer, output_structure: Any, effects: Any) -> CompiledGraph:
        verify(tracer.graph, after="capture")
        pipeline = self._passes or _pipeline
        if pipeline is not None:
            tracer.graph = pipeline(tracer.graph)
        return CompiledGraph(tracer, output_structure, effects)


def _as_argument(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    return as_tensor(value) if isinstance(value, np.ndarray) else None


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
    *, passes: Pipeline | None = None
) -> Callable[[Callable[Parameters, Result]], TracedFunction[Parameters, Result]]: ...
def trace(function: Any = None, /, *, passes: Pipeline | None = None) -> Any:
    """Capture a function of tensors as one graph per input types, optimize it, and run that.

    Forward, `backward()`, collectives and optimizer updates inside all become part of the graph. Python runs only
    during the capture: branches on tensor values raise TraceError naming the line, and prints happen once.

    Args:
        function: takes tensors (also NumPy arrays, and both nested in lists, tuples and dicts) and hashable values.
        passes: what optimizes the graph, instead of the default pipeline.
    """
    if function is None:
        return lambda inner: TracedFunction(inner, passes=passes)
    return TracedFunction(function, passes=passes)
