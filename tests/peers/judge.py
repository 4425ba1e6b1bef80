"""One sample through PyTorch's operator and through ours: values, dtypes, shapes, gradients, the traced call."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import dtrain as dt
from dtrain.base.errors import TraceError
from peers.compare import difference
from peers.exchange import DTYPES, NotOurs, array_of, leaves_of, map_structure, quietly, to_ours
from peers.tally import DIFFERENT, EQUAL, MISSING, UNLISTED, UNTRACED
from peers.ties import same_but_for_ties

Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]
# How Python, and our own table of keywords, say that an argument does not exist.
NO_SUCH_ARGUMENT = re.compile(
    r"expected keywords that it has, got (?P<ours>'\w+')|unexpected keyword argument (?P<keyword>'\w+')"
    r"|takes (?:from )?(?P<position>[\w ]+?) positional arguments? but"
)


def judge(
    theirs: Callable[..., Any], ours: Callable[..., Any], sample: Any, *, drawn: bool, name: str = ""
) -> tuple[str, str]:
    """How a sample comes out, and why in words. Of operators named in `ties.OPEN` other places may be as right."""
    given = (sample.input, *sample.args), dict(sample.kwargs)
    try:
        mine = to_ours(given)
    except NotOurs as error:
        return MISSING, str(error)
    exact = in_f64(given)
    try:
        right = quietly(theirs, *given[0], **given[1])
    except Exception as error:
        return MISSING, f"PyTorch refuses: {type(error).__name__}"
    try:
        result = ours(*mine[0], **mine[1])
    except Exception as error:
        absent = NO_SUCH_ARGUMENT.search(str(error)) if isinstance(error, TypeError) else None
        if absent:
            word = absent["ours"] or absent["keyword"] or f"more than {absent['position']} by position"
            return MISSING, f"the argument {word}"
        return UNLISTED, f"{type(error).__name__}: {error}"
    if drawn:
        found = kinds_difference(result, right)
        return (DIFFERENT, found) if found else (EQUAL, "")
    found = difference(result, right, lambda: quietly(theirs, *exact[0], **exact[1]))
    if found and (with_our_places := same_but_for_ties(name, sample, result, right)):
        theirs, right = with_our_places, with_our_places(*given[0], **given[1])
        found = difference(result, right)
    return (DIFFERENT, found) if found else gradients(theirs, (given, right), (mine, result), exact)


def kinds_difference(ours: Any, theirs: Any) -> str:
    """What differs in shape or dtype between two tensors that are drawn."""
    a, b = (ours.dtype, tuple(ours.shape)), (DTYPES.get(theirs.dtype), tuple(theirs.shape))
    return "" if a == b else f"{a}, theirs {b}"


def in_f64(given: Any) -> Any:
    """The same arguments in f64: what is rounded less."""

    def exact(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            if not value.dtype.is_floating_point:
                return value.detach()
            return value.detach().double().requires_grad_(value.requires_grad)
        if isinstance(value, torch.dtype) and value.is_floating_point:
            return torch.float64
        return map_structure(exact, value)

    return exact(given)


def gradients(theirs: Callable[..., Any], right: Any, mine: Any, exact: Any) -> tuple[str, str]:
    """Compare gradients of all results, weighed by fixed random numbers, of all inputs that require them."""
    wanted = [leaf for leaf in leaves_of(right[0], torch.Tensor) if leaf.requires_grad]
    outputs = [leaf for leaf in leaves_of(right[1], torch.Tensor) if leaf.requires_grad]
    if not wanted or not outputs:
        return EQUAL, ""
    weights = [torch.from_numpy(weight_like(leaf)).to(leaf.dtype) for leaf in outputs]
    try:
        slopes = quietly(torch.autograd.grad, outputs, wanted, weights, allow_unused=True)
    except Exception:
        return EQUAL, ""  # PyTorch has no gradient either
    try:
        found = our_gradients(mine, weights)
    except Exception as error:
        return UNLISTED, f"gradient: {type(error).__name__}: {error}"

    def truth() -> Any:
        leaves = [leaf for leaf in leaves_of(exact, torch.Tensor) if leaf.requires_grad]
        results = leaves_of(quietly(theirs, *exact[0], **exact[1]), torch.Tensor)
        results = [leaf for leaf in results if leaf.requires_grad]
        given = [weight.to(leaf.dtype) for weight, leaf in zip(weights, results)]
        return [
            zeros if slope is None else slope
            for slope, zeros in zip(
                quietly(torch.autograd.grad, results, leaves, given, allow_unused=True),
                [torch.zeros_like(leaf) for leaf in leaves],
            )
        ]

    others = [torch.zeros_like(leaf) if slope is None else slope for slope, leaf in zip(slopes, wanted)]
    apart = difference(found, others, truth)
    return (DIFFERENT, f"gradient: {apart}") if apart else (EQUAL, "")


def weight_like(leaf: torch.Tensor) -> np.ndarray:
    return np.random.default_rng(leaf.numel()).uniform(0.5, 1.5, tuple(leaf.shape))


def our_gradients(mine: Any, weights: list[torch.Tensor]) -> list[dt.Tensor]:
    """Our gradients of the same results; zeros where nothing depends on an input."""
    wanted = [leaf for leaf in leaves_of(mine[0], dt.Tensor) if leaf.requires_grad]
    outputs = [leaf for leaf in leaves_of(mine[1], dt.Tensor) if leaf.requires_grad]
    if not outputs:  # nothing depends on the inputs: all slopes are 0
        return [dt.functional.zeros_like(leaf) for leaf in wanted]
    if len(outputs) != len(weights):
        raise AssertionError(f"{len(outputs)} results require gradients, theirs {len(weights)}")
    given = [dt.tensor(array_of(weight), dtype=out.dtype) for weight, out in zip(weights, outputs)]
    slopes = dt.grad(outputs, wanted, given, allow_unused=True)
    return [dt.functional.zeros_like(leaf) if slope is None else slope for slope, leaf in zip(slopes, wanted)]


def traced(ours: Callable[..., Any], sample: Any) -> tuple[str, str]:
    """Our own call, eagerly and in a trace whose inputs are the tensors of the sample."""
    mine = to_ours(((sample.input, *sample.args), dict(sample.kwargs)))
    leaves = [leaf.detach() for leaf in leaves_of(mine, dt.Tensor)]
    if not leaves:
        return EQUAL, ""

    def call(*tensors: dt.Tensor) -> Any:
        rest = iter(tensors)

        def fill(value: Any) -> Any:
            return next(rest) if isinstance(value, dt.Tensor) else map_structure(fill, value)

        arguments, keywords = fill(mine)
        return ours(*arguments, **keywords)

    eager = call(*leaves)
    try:
        graph = dt.trace(call)(*leaves)
    except TraceError as error:
        return UNTRACED, str(error)[:100]
    apart = own_difference(graph, eager)
    return (DIFFERENT, f"traced: {apart}") if apart else (EQUAL, "")


def own_difference(graph: Any, eager: Any) -> str:
    a, b = leaves_of(graph, dt.Tensor), leaves_of(eager, dt.Tensor)
    if [x.type for x in a] != [x.type for x in b]:
        return f"{[str(x.type) for x in a]}, eagerly {[str(x.type) for x in b]}"
    for x, y in zip(a, b):
        left, right = np.asarray(x.numpy()), np.asarray(y.numpy())
        if left.tobytes() != right.tobytes() and not np.allclose(
            left.astype(np.float64), right.astype(np.float64), rtol=1e-6, equal_nan=True
        ):
            return f"{left.ravel()[:3]}, eagerly {right.ravel()[:3]}"
    return ""
