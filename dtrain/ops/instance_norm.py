"""Instance norm: each channel of each sample by its own statistics, or by running ones."""

from __future__ import annotations

from math import prod

from dtrain.base.errors import ShapeError, expected
from dtrain.core.apply import cast
from dtrain.core.context import no_grad
from dtrain.core.tensor import Tensor
from dtrain.ops.batch_norm import batch_norm
from dtrain.ops.normalization import group_norm
from dtrain.opset.normalization import accumulation


def instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of each sample of x[N,C,…] over its places: group norm with a group for each channel.

    Args:
        running_mean, running_var: [C], or None for both. With statistics of the input they move towards the mean over
            samples of these, in place: running = (1 − momentum) · running + momentum · new, of the unbiased variance.
        weight, bias: [C], or None for ones and zeros.
        use_input_stats: without, the running values are used.
    """
    running = _both(running_mean, running_var)
    if not use_input_stats:
        if running is None:
            wanted = "running_mean and running_var where use_input_stats is False"
            raise ValueError(expected("instance_norm", wanted, "none"))
        return batch_norm(x, *running, weight, bias, eps=eps)
    if x.ndim < 3 or prod(x.shape[2:]) < 2:
        wanted = "x[N,C,…] with more than one place per channel"
        raise ShapeError(expected("instance_norm", wanted, str(x.type)))
    y = group_norm(x, x.shape[1], weight, bias, eps)
    if running is not None and x.size:  # of no images there is no mean
        _move(x, *running, momentum)
    return y


def _both(mean: Tensor | None, var: Tensor | None) -> tuple[Tensor, Tensor] | None:
    if mean is None and var is None:
        return None
    if mean is None or var is None:
        given = "running_var alone" if mean is None else "running_mean alone"
        raise ValueError(expected("instance_norm", "running_mean and running_var, or none of them", given))
    return mean, var


@no_grad()
def _move(x: Tensor, running_mean: Tensor, running_var: Tensor, momentum: float) -> None:
    """Move running values towards the means over samples of what the input has."""
    wide, places = cast(x, accumulation(x.dtype)), tuple(range(2, x.ndim))
    for running, new in (
        (running_mean, wide.mean(places).mean(0)),
        (running_var, wide.var(places, correction=1).mean(0)),
    ):
        if running.shape != new.shape:
            raise ShapeError(expected("instance_norm", f"running values of shape {new.shape}", str(running.type)))
        running.assign_(cast(running * (1 - momentum) + new * momentum, running.dtype))
