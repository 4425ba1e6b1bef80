"""Places among equal elements: where PyTorch leaves it open which of them comes, ours is looked up, not compared.

`max`, `min`, `argmax` and `argmin` give the first of equal elements, and a stable sort keeps their order: those places
are compared as numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

import dtrain as dt


class Places(NamedTuple):
    """Where an operator takes its axis, and whether each of its places comes once along it."""

    position: int  # among the arguments behind the tensor
    axis: int | None  # the default; with None there are no places
    is_distinct: bool = False


OPEN = {
    "topk": Places(1, -1, is_distinct=True),
    "sort": Places(0, -1, is_distinct=True),
    "argsort": Places(0, -1, is_distinct=True),
    "kthvalue": Places(1, -1),
    "mode": Places(0, -1),
    "median": Places(0, None),
    "nanmedian": Places(0, None),
}


def same_but_for_ties(name: str, sample: Any, ours: Any, theirs: Any) -> Callable[..., Any] | None:
    """PyTorch's function with places as ours, if these are as right as its own; None if they are not.

    Ours are right where x has there, bit for bit but for the payload of a NaN, what it has at theirs, and, where places
    are distinct, none comes twice. The function gives x at our places beside them, with the gradient that belongs so.
    """
    rule = OPEN.get(name)
    if rule is None or sample.kwargs.get("stable"):
        return None
    axis = _axis(rule, sample)
    mine, other = (value[-1] if isinstance(value, (tuple, list)) else value for value in (ours, theirs))
    if axis is None or not isinstance(mine, dt.Tensor) or mine.dtype is not dt.int64 or mine.shape != other.shape:
        return None
    places = torch.from_numpy(mine.detach().numpy().copy())
    found, wanted = (_at(sample.input, axis, given) for given in (places, other))
    if found is None or wanted is None or not bool(_same(found, wanted).all()):
        return None
    if rule.is_distinct and not _come_once(places, axis):
        return None
    if isinstance(theirs, torch.Tensor):
        return lambda x, *rest, **options: places
    return lambda x, *rest, **options: (_at(x, axis, places), places)


def _axis(rule: Places, sample: Any) -> int | None:
    for word in ("dim", "axis"):
        if word in sample.kwargs:
            given: int | None = sample.kwargs[word]
            return given
    return sample.args[rule.position] if len(sample.args) > rule.position else rule.axis


def _at(x: torch.Tensor, axis: int, places: torch.Tensor) -> torch.Tensor | None:
    """x at the places along an axis, which the places may have lost; None where one lies outside."""
    lines = x.reshape(1) if x.ndim == 0 else x
    is_kept = x.ndim == places.ndim
    index = places.reshape(1) if x.ndim == 0 else places if is_kept else places.unsqueeze(axis)
    if index.numel() and not (int(index.min()) >= 0 and int(index.max()) < lines.shape[axis]):
        return None
    found = torch.gather(lines, axis, index)
    return found.reshape(places.shape)


def _same(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a == b) | ((a != a) & (b != b))


def _come_once(places: torch.Tensor, axis: int) -> bool:
    if places.ndim == 0:
        return True
    in_order = places.sort(dim=axis).values
    return bool((in_order.diff(dim=axis) != 0).all())
