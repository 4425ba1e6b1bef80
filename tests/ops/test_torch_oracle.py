"""PyTorch as an independent oracle: values and gradients of the same function on the same f64 numbers.

Skipped where PyTorch is not installed (extra `peers`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.core.tensor import Tensor, wrap

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dtrain[peers]'")
T = torch.nn.functional

RANDOM = np.random.default_rng(5)


def _normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape)


def _positive(*shape: int) -> np.ndarray:
    return RANDOM.uniform(0.2, 0.9, shape)


class Pair(NamedTuple):
    """One function of ours, one of PyTorch's, and the arrays that both take; integer arrays get no gradient."""

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    arrays: tuple[np.ndarray, ...]
    gradient_rtol: float = 1e-9


def _same_name(name: str, *arrays: np.ndarray) -> Pair:
    theirs = getattr(torch, name, None) or getattr(T, name)
    return Pair(getattr(F, name), theirs, arrays)


MATRIX, CUBE = _normal(4, 5), _normal(2, 3, 4)
LABELS = np.array([1, 4, 0, 2])
IMAGE, LABEL_IMAGE = _normal(2, 3, 4, 5), RANDOM.integers(0, 3, (2, 4, 5))
PROBABILITIES, TARGETS = _positive(3, 4), _positive(3, 4)
SIGNS = np.sign(_normal(3, 4))
ATTENTION = (_normal(2, 4, 5), _normal(2, 5, 3))

ANYWHERE = (
    "abs neg sign square exp expm1 round ceil floor sin cos tan atan sinh cosh tanh asinh erf "
    "relu relu6 sigmoid silu softplus gelu elu leaky_relu logsigmoid"
)
BETWEEN_0_AND_1 = "log log1p sqrt rsqrt reciprocal asin acos atanh"

PAIRS = {
    **{name: _same_name(name, MATRIX) for name in ANYWHERE.split()},
    **{name: _same_name(name, _positive(4, 5)) for name in BETWEEN_0_AND_1.split()},
    **{name: _same_name(name, MATRIX, _positive(4, 1)) for name in ("maximum", "minimum", "atan2")},
    "acosh": _same_name("acosh", _positive(4, 5) + 1),
    "hswish": Pair(F.hswish, T.hardswish, (MATRIX * 2,)),
    # PyTorch's gradient multiplies by 1/6 rounded to f32.
    "hsigmoid": Pair(F.hsigmoid, T.hardsigmoid, (MATRIX * 2,), 1e-7),
    "gelu_tanh": Pair(lambda x: F.gelu(x, approximate="tanh"), lambda x: T.gelu(x, approximate="tanh"), (MATRIX,)),
    "softplus_beta": Pair(lambda x: F.softplus(x, 2.0), lambda x: T.softplus(x, 2.0), (MATRIX,)),
    "prelu": Pair(F.prelu, T.prelu, (CUBE, _positive(3))),
    "add": Pair(F.add, torch.add, (CUBE, _normal(3, 1))),
    "sub": Pair(F.sub, torch.sub, (CUBE, _normal(3, 1))),
    "mul": Pair(F.mul, torch.mul, (CUBE, _normal(3, 1))),
    "div": Pair(F.div, torch.div, (CUBE, _positive(3, 1))),
    "mod": Pair(F.mod, torch.remainder, (MATRIX, _positive(4, 1))),
    "pow": Pair(F.pow, torch.pow, (_positive(4, 5), _normal(4, 1))),
    "pow_of_negatives": Pair(lambda x: F.pow(x, 3), lambda x: torch.pow(x, 3), (MATRIX,)),
    "clip": Pair(lambda x: F.clip(x, -0.5, 0.7), lambda x: torch.clip(x, -0.5, 0.7), (MATRIX,)),
    "where": Pair(
        lambda x, y: F.where(x > y, x * x, y), lambda x, y: torch.where(x > y, x * x, y), (MATRIX, _normal(4, 5))
    ),
    "sum": Pair(lambda x: F.sum(x, (0, 2)), lambda x: torch.sum(x, (0, 2)), (CUBE,)),
    "mean": Pair(lambda x: F.mean(x, 1), lambda x: torch.mean(x, 1), (CUBE,)),
    "prod": Pair(lambda x: F.prod(x, 1), lambda x: torch.prod(x, 1), (CUBE,)),
    "max": Pair(lambda x: F.max(x, 1), lambda x: torch.amax(x, 1), (np.round(CUBE),)),
    "min": Pair(lambda x: F.min(x, (0, 1)), lambda x: torch.amin(x, (0, 1)), (np.round(CUBE),)),
    "logsumexp": Pair(lambda x: F.logsumexp(x, 1), lambda x: torch.logsumexp(x, 1), (CUBE,)),
    "var": Pair(lambda x: F.var(x, 1), lambda x: torch.var(x, 1), (CUBE,)),
    "std": Pair(lambda x: F.std(x, (0, 2)), lambda x: torch.std(x, (0, 2)), (CUBE,)),
    "norm_2": Pair(lambda x: F.norm(x, 2, 1), lambda x: torch.linalg.vector_norm(x, 2, 1), (CUBE,)),
    "norm_3": Pair(lambda x: F.norm(x, 3, 1), lambda x: torch.linalg.vector_norm(x, 3, 1), (CUBE,)),
    "norm_1": Pair(lambda x: F.norm(x, 1), lambda x: torch.linalg.vector_norm(x, 1), (CUBE,)),
    "normalize": Pair(F.normalize, T.normalize, (CUBE,)),
    "cumsum": Pair(lambda x: F.cumsum(x, 1), lambda x: torch.cumsum(x, 1), (CUBE,)),
    "softmax": Pair(lambda x: F.softmax(x, 1), lambda x: torch.softmax(x, 1), (CUBE,)),
    "log_softmax": Pair(lambda x: F.log_softmax(x, 0), lambda x: torch.log_softmax(x, 0), (CUBE,)),
    "argmax": Pair(lambda x: F.argmax(x, 1), lambda x: torch.argmax(x, 1), (CUBE,)),
    "cross_entropy": Pair(F.cross_entropy, T.cross_entropy, (MATRIX, LABELS)),
    "cross_entropy_smoothed": Pair(
        lambda x, t: F.cross_entropy(x, t, label_smoothing=0.1, reduction="none"),
        lambda x, t: T.cross_entropy(x, t, label_smoothing=0.1, reduction="none"),
        (MATRIX, LABELS),
    ),
    "cross_entropy_dense": Pair(
        lambda x, t: F.cross_entropy(x, t, ignore_index=2),
        lambda x, t: T.cross_entropy(x, t, ignore_index=2),
        (IMAGE, LABEL_IMAGE),
    ),
    "nll_loss": Pair(F.nll_loss, T.nll_loss, (MATRIX, LABELS)),
    "mse_loss": Pair(F.mse_loss, T.mse_loss, (PROBABILITIES, TARGETS)),
    "l1_loss": Pair(F.l1_loss, T.l1_loss, (PROBABILITIES, TARGETS)),
    "smooth_l1_loss": Pair(F.smooth_l1_loss, T.smooth_l1_loss, (PROBABILITIES * 3, TARGETS)),
    "binary_cross_entropy": Pair(
        lambda p: F.binary_cross_entropy(p, wrap(TARGETS)),
        lambda p: T.binary_cross_entropy(p, torch.from_numpy(TARGETS)),
        (PROBABILITIES,),
    ),
    "binary_cross_entropy_with_logits": Pair(
        F.binary_cross_entropy_with_logits, T.binary_cross_entropy_with_logits, (_normal(3, 4), TARGETS)
    ),
    "matmul": Pair(F.matmul, torch.matmul, ATTENTION),
    "linear": Pair(F.linear, T.linear, (MATRIX, _normal(3, 5), _normal(3))),
    "conv2d": Pair(
        lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1, dilation=1, groups=1),
        lambda x, w, b: T.conv2d(x, w, b, stride=2, padding=1, dilation=1, groups=1),
        (_normal(2, 4, 7, 6), _normal(6, 4, 3, 3), _normal(6)),
    ),
    "conv2d_grouped": Pair(
        lambda x, w: F.conv2d(x, w, padding=(2, 1), dilation=(2, 1), groups=2),
        lambda x, w: T.conv2d(x, w, padding=(2, 1), dilation=(2, 1), groups=2),
        (_normal(2, 4, 7, 6), _normal(6, 2, 3, 2)),
    ),
    "max_pool2d": Pair(
        lambda x: F.max_pool2d(x, 3, stride=2, padding=1), lambda x: T.max_pool2d(x, 3, 2, 1), (_normal(2, 3, 7, 8),)
    ),
    "layer_norm": Pair(
        lambda x, w, b: F.layer_norm(x, (4,), w, b),
        lambda x, w, b: T.layer_norm(x, (4,), w, b),
        (CUBE, _normal(4), _normal(4)),
    ),
    "group_norm": Pair(lambda x: F.group_norm(x, 2), lambda x: T.group_norm(x, 2), (_normal(2, 4, 3, 3),)),
    "embedding": Pair(F.embedding, T.embedding, (np.array([[0, 2], [2, 1]]), _normal(3, 4))),
}


def _our_inputs(arrays: tuple[np.ndarray, ...]) -> list[Tensor]:
    return [wrap(a.copy()).requires_grad_(a.dtype.kind == "f") for a in arrays]


@pytest.mark.parametrize("name", PAIRS)
def test_values_and_gradients_are_pytorchs(name):
    pair = PAIRS[name]
    ours = _our_inputs(pair.arrays)
    theirs = [torch.from_numpy(a.copy()).requires_grad_(a.dtype.kind == "f") for a in pair.arrays]
    our_result, their_result = pair.ours(*ours), pair.theirs(*theirs)
    np.testing.assert_allclose(our_result.numpy(), their_result.detach().numpy(), rtol=1e-10, atol=1e-12)
    if not our_result.dtype.is_floating:
        return
    weight = np.random.default_rng(6).normal(size=our_result.shape)
    (our_result * wrap(weight)).sum().backward()
    (their_result * torch.from_numpy(weight)).sum().backward()
    compared = 0
    for mine, reference in zip(ours, theirs):
        if reference.grad is not None:
            np.testing.assert_allclose(mine.grad.numpy(), reference.grad.numpy(), rtol=pair.gradient_rtol, atol=1e-11)
            compared += 1
    assert compared, "no gradient was compared"
