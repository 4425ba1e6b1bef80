"""Sums of products in Einstein's notation, composed of diagonals, sums and matrix products, two operands at a time.

A label is a letter, or a number for an axis that an ellipsis stands for, counted from the last one. `_Factor` is a
tensor with a label for each axis; every step keeps the labels that the output or another operand still needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, NamedTuple

from dtrain.base.errors import ShapeError, expected
from dtrain.base.promotion import common_dtype
from dtrain.core.apply import as_tensors, cast
from dtrain.core.tensor import Tensor
from dtrain.ops.diagonal import diagonal
from dtrain.ops.matmul import matmul
from dtrain.ops.precision import rounded_once
from dtrain.ops.reduction import sum as sum_over
from dtrain.ops.shape import permute, reshape
from dtrain.opset.infer import normalize_axis

Label = str | int
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class _Factor(NamedTuple):
    tensor: Tensor
    labels: tuple[Label, ...]


def einsum(equation: Any, *operands: Any) -> Tensor:
    """The sum over all labels that the output does not have, of the products of the operands' elements.

    `"bij,bjk->bik"` multiplies batches of matrices, `"ii"` is a trace, `"...i->..."` sums over the last axis. Without
    `->` the output has the axes of the ellipsis, then the letters that come once, in alphabetical order. Axes of size
    1 broadcast. Of three operands or more those two are multiplied first whose product is the smallest beside them.
    Integers stay what they are in products, and give s64 where they are summed alone.

    Args:
        equation: letters for the axes of each operand, in their order; also `einsum(a, [0, 1], b, [1, 2], [0, 2])`.
        operands: tensors, or one list of them.

    Raises:
        ValueError: the equation does not fit itself or the operands.

    >>> einsum("i,i->", tensor([1.0, 2.0]), tensor([3.0, 4.0])).tolist()
    11.0
    """
    if not isinstance(equation, str):
        equation, operands = _from_lists((equation, *operands))
    elif len(operands) == 1 and isinstance(operands[0], list | tuple):
        operands = tuple(operands[0])
    return _einsum(equation.replace(" ", ""), *operands)


def tensordot(a: Tensor, b: Tensor, axes: int | Sequence[Sequence[int] | int] = 2) -> Tensor:
    """The sum of products over pairs of axes; the other axes of a, then those of b, are left.

    Args:
        axes: a count, of a's last axes with b's first; or (axes of a, axes of b), of one size or 1.
    """
    a, b = as_tensors([a, b])
    if isinstance(axes, int):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise ShapeError(expected("tensordot", f"a count of axes of {a.type} and {b.type}", str(axes)))
        first, second = tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    else:
        pair = [(each,) if isinstance(each, int) else tuple(each) for each in axes]
        if len(pair) != 2 or len(pair[0]) != len(pair[1]):
            raise ShapeError(expected("tensordot", "as many axes of a as of b", repr(axes)))
        first = tuple(normalize_axis("tensordot", axis, a.ndim) for axis in pair[0])
        second = tuple(normalize_axis("tensordot", axis, b.ndim) for axis in pair[1])
    sizes = [{a.shape[one], b.shape[other]} - {1} for one, other in zip(first, second)]
    fits = all(len(different) <= 1 for different in sizes)
    if not fits or len({*first}) < len(first) or len({*second}) < len(second):
        given = f"axes {first} of {a.type} and {second} of {b.type}"
        raise ShapeError(expected("tensordot", "different axes, in pairs of one size", given))
    own = list(range(a.ndim))
    other_labels = [first[second.index(axis)] if axis in second else a.ndim + axis for axis in range(b.ndim)]
    left = [label for label in (*own, *other_labels) if (label in own) != (label in other_labels)]
    result = einsum(a, own, b, other_labels, left)
    return cast(result, common_dtype([a.type, b.type]))  # sums of axes of size 1 come out as s64


@rounded_once
def _einsum(equation: str, *operands: Any) -> Tensor:
    inputs, arrow, output = equation.partition("->")
    texts = inputs.split(",")
    if not operands or len(texts) != len(operands):
        given = f"{len(texts)} in {equation!r} and {len(operands)} operands"
        raise ValueError(expected("einsum", "labels for each operand", given))
    tensors = as_tensors(list(operands))
    common = common_dtype([tensor.type for tensor in tensors])
    factors = [_labelled(equation, text, cast(tensor, common)) for text, tensor in zip(texts, tensors)]
    _check_sizes(equation, factors)
    wanted = _output_labels(equation, output if arrow else None, factors)
    factors = [_with_diagonals(factor) for factor in factors]
    while len(factors) > 1:
        first, second = _cheapest(factors, wanted)
        others = [factor for place, factor in enumerate(factors) if place not in (first, second)]
        needed = {*wanted, *(label for factor in others for label in factor.labels)}
        factors = [*others, _product(factors[first], factors[second], needed)]
    last = _summed(factors[0], set(wanted))
    return permute(last.tensor, *(last.labels.index(label) for label in wanted)) if wanted else last.tensor


# The equation ---------------------------------------------------------------------------------------------------------


def _from_lists(given: tuple[Any, ...]) -> tuple[str, tuple[Any, ...]]:
    """The equation and the operands of `einsum(a, [0, 1], b, [1, 2], [0, 2])`."""

    def text(labels: Any) -> str:
        if not isinstance(labels, list | tuple) or not all(
            label is Ellipsis or (isinstance(label, int) and 0 <= label < len(_LETTERS)) for label in labels
        ):
            wanted = f"an equation, or lists of numbers in [0, {len(_LETTERS)}) behind the operands"
            raise ValueError(expected("einsum", wanted, repr(labels)))
        return "".join("..." if label is Ellipsis else _LETTERS[label] for label in labels)

    count = len(given) // 2
    equation = ",".join(text(labels) for labels in given[1 : 2 * count : 2])
    return equation + (f"->{text(given[-1])}" if len(given) % 2 else ""), given[: 2 * count : 2]


def _labelled(equation: str, text: str, tensor: Tensor) -> _Factor:
    before, dots, after = text.partition("...")
    letters = before + after
    if not all(letter in _LETTERS for letter in letters):
        raise ValueError(expected("einsum", "letters, at most one ... for each operand, and ->", repr(equation)))
    spread = tensor.ndim - len(letters)
    if spread < 0 or (spread and not dots):
        wanted = f"an operand of {'at least ' if dots else ''}{len(letters)} axes for {text!r} in {equation!r}"
        raise ShapeError(expected("einsum", wanted, str(tensor.type)))
    return _Factor(tensor, (*before, *range(-spread, 0), *after))


def _output_labels(equation: str, output: str | None, factors: Sequence[_Factor]) -> tuple[Label, ...]:
    every = [label for factor in factors for label in factor.labels]
    spread = tuple(sorted({label for label in every if isinstance(label, int)}))
    if output is None:
        return *spread, *sorted(label for label in every if isinstance(label, str) and every.count(label) == 1)
    before, dots, after = output.partition("...")
    letters = before + after
    if len(set(letters)) < len(letters) or not all(letter in every for letter in letters):
        raise ValueError(expected("einsum", "each output letter once, and one of an operand", repr(equation)))
    return (*before, *(spread if dots else ()), *after)


def _check_sizes(equation: str, factors: Sequence[_Factor]) -> None:
    sizes: dict[Label, int] = {}
    for factor in factors:
        own: dict[Label, int] = {}
        for label, size in zip(factor.labels, factor.tensor.shape):
            if own.setdefault(label, size) != size or (size != 1 and sizes.setdefault(label, size) != size):
                shapes = " and ".join(str(each.tensor.shape) for each in factors)
                name = f"axis {label}" if isinstance(label, int) else repr(label)
                raise ShapeError(expected("einsum", f"one size for {name} of {equation!r}", shapes))


# The steps ------------------------------------------------------------------------------------------------------------


def _with_diagonals(factor: _Factor) -> _Factor:
    """Letters that come twice in one operand: its diagonal, on a last axis."""
    tensor, labels = factor
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            tensor = diagonal(tensor, 0, first, second)
            labels = (*(other for place, other in enumerate(labels) if place not in (first, second)), label)
    return _Factor(tensor, labels)


def _summed(factor: _Factor, needed: set[Label]) -> _Factor:
    axes = tuple(axis for axis, label in enumerate(factor.labels) if label not in needed)
    if not axes:
        return factor
    total = sum_over(factor.tensor, axes)
    return _Factor(total, tuple(label for label in factor.labels if label in needed))


def _without_broadcast(factor: _Factor, other: _Factor) -> _Factor:
    """Axes of size 1 that the other one repeats are left out: the product has them from there."""
    sizes = dict(zip(other.labels, other.tensor.shape))
    left_out = {label for label, size in zip(*_shape_of(factor)) if size == 1 and sizes.get(label, 1) != 1}
    if not left_out:
        return factor
    kept = tuple(label for label in factor.labels if label not in left_out)
    shape = tuple(size for label, size in zip(*_shape_of(factor)) if label not in left_out)
    return _Factor(reshape(factor.tensor, shape), kept)


def _shape_of(factor: _Factor) -> tuple[tuple[Label, ...], tuple[int, ...]]:
    return factor.labels, factor.tensor.shape


def _product(a: _Factor, b: _Factor, needed: set[Label]) -> _Factor:
    """One matrix product over the batch of labels that both have and that stay."""
    a, b = _without_broadcast(a, b), _without_broadcast(b, a)
    a, b = _summed(a, needed | set(b.labels)), _summed(b, needed | set(a.labels))
    shared = [label for label in a.labels if label in b.labels]
    batch = tuple(label for label in shared if label in needed)
    inner = tuple(label for label in shared if label not in needed)
    rows = tuple(label for label in a.labels if label not in shared)
    columns = tuple(label for label in b.labels if label not in shared)
    size = dict(zip(*_shape_of(a))) | dict(zip(*_shape_of(b)))
    counts = [prod(size[label] for label in labels) for labels in (batch, rows, inner, columns)]
    left = reshape(_ordered(a, (*batch, *rows, *inner)), tuple(counts[:3]))
    right = reshape(_ordered(b, (*batch, *inner, *columns)), (counts[0], counts[2], counts[3]))
    result = matmul(left, right) if inner else left * right
    labels = (*batch, *rows, *columns)
    return _Factor(reshape(result, tuple(size[label] for label in labels)), labels)


def _ordered(factor: _Factor, labels: tuple[Label, ...]) -> Tensor:
    order = tuple(factor.labels.index(label) for label in labels)
    return factor.tensor if order == tuple(range(len(order))) else permute(factor.tensor, *order)


def _cheapest(factors: Sequence[_Factor], wanted: Sequence[Label]) -> tuple[int, int]:
    """The two operands whose product adds the fewest elements to what is there, by the fewest multiplications."""
    if len(factors) == 2:
        return 0, 1
    size: dict[Label, int] = {}
    for factor in factors:
        for label, count in zip(*_shape_of(factor)):
            size[label] = max(size.get(label, 1), count)

    def cost(pair: tuple[int, int]) -> tuple[int, int]:
        others = {label for place, factor in enumerate(factors) if place not in pair for label in factor.labels}
        both = {*factors[pair[0]].labels, *factors[pair[1]].labels}
        kept = both & {*wanted, *others}
        growth = prod(size[label] for label in kept) - sum(factors[place].tensor.size for place in pair)
        return growth, prod(size[label] for label in both)

    pairs = [(first, second) for second in range(len(factors)) for first in range(second)]
    return min(pairs, key=cost)
