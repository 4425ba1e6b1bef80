"""Draws under PyTorch's names whose parameters may be tensors: an element for each of theirs. No gradient flows."""

from __future__ import annotations

from typing import Any

from dtrain.base.device import CPU, DeviceLike
from dtrain.base.dtype import DTypeLike, bool_, float32
from dtrain.base.errors import expected
from dtrain.base.spelling import spelled
from dtrain.core.apply import cast
from dtrain.core.random import Generator, default_generator
from dtrain.core.tensor import Tensor, as_tensor, install_methods
from dtrain.core.tensor_factory import ShapeLike
from dtrain.ops.precision import SHORT_FLOATS, rounded_once
from dtrain.ops.value_checks import expect_finite
from dtrain.ops.where import where
from dtrain.opset.infer import broadcast_shapes


@spelled
def normal(
    mean: Any = 0.0,
    std: Any = 1.0,
    size: ShapeLike | None = None,
    *,
    dtype: DTypeLike | None = None,
    device: DeviceLike | None = None,
    generator: Generator | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normally distributed numbers: of this size, or one for each element of `mean` and `std`, which broadcast.

    `F.normal(shape, mean, std)` takes numbers alone.

    Args:
        size: the shape, where mean and std are both numbers; left out else.

    Raises:
        RuntimeError: an element of std is below 0, or NaN.
    """
    source = generator or default_generator()
    tensors = [value for value in (mean, std) if isinstance(value, Tensor)]
    if not tensors:
        if size is None:
            raise TypeError(expected("normal", "a size, or a tensor as mean or std", "numbers alone"))
        _check_number(std)
        place = CPU if device is None else device
        drawn = source.normal(size, mean, std, dtype=dtype or float32, device=place)
        return drawn.requires_grad_() if requires_grad else drawn
    if size is not None:
        raise TypeError(expected("normal", "size left out beside tensors", f"size {size!r}"))
    if dtype is not None or device is not None or requires_grad:
        advice = "they are those of the tensors"
        raise TypeError(expected("normal", "dtype, device and requires_grad left out beside tensors", "some", advice))
    shape = broadcast_shapes("normal", *(tensor.shape for tensor in tensors))
    return _of_tensors(source, shape, mean, std)


@rounded_once
def _of_tensors(source: Generator, shape: tuple[int, ...], mean: Any, std: Any) -> Tensor:
    first = mean if isinstance(mean, Tensor) else std
    if isinstance(std, Tensor):
        std = std.detach()
        std = expect_finite(where(std >= 0, std, float("nan")), where="normal", what="std of at least 0")
    else:
        _check_number(std)
    drawn = source.normal(shape, dtype=first.dtype, device=first.device)
    scaled: Tensor = drawn * std
    return scaled + (mean.detach() if isinstance(mean, Tensor) else mean)


def _check_number(std: float) -> None:
    if not std >= 0:
        raise RuntimeError(expected("normal", "std of at least 0", repr(std)))


@spelled
def bernoulli(x: Tensor, p: Any = None, *, generator: Generator | None = None) -> Tensor:
    """1 with the probability that is the element, else 0, in x's dtype; with `p` of that probability, x's shape alone.

    `F.bernoulli(shape, p)` takes a shape.

    Raises:
        RuntimeError: a probability is not in [0, 1].
    """
    x = as_tensor(x).detach()
    given = x if p is None else p
    if p is None and not x.dtype.is_floating:
        raise TypeError(expected("bernoulli", "probabilities as floats", str(x.type)))
    wanted = "probabilities in [0, 1]"
    if isinstance(given, Tensor):
        shares = where((given.detach() >= 0) & (given.detach() <= 1), given.detach(), float("nan"))
        given = expect_finite(shares, where="bernoulli", what=wanted)
        broadcast_shapes("bernoulli", x.shape, given.shape)
    elif not 0 <= given <= 1:
        raise RuntimeError(expected("bernoulli", wanted, repr(given)))
    drawn = (generator or default_generator()).uniform(x.shape, device=x.device)
    if isinstance(given, Tensor) and given.dtype in SHORT_FLOATS:  # the draw would be rounded to them, up to 1
        given = given.to("f32")
    hits: Tensor = drawn < given
    return hits if x.dtype is bool_ else cast(hits, x.dtype)


install_methods({"bernoulli": bernoulli})
