"""Every public float function in f16 and bf16 is its f64 result rounded once, give or take the last digit.

Small, ordinary and large numbers: a function of several ops that rounds between them overflows, underflows or loses
digits at one end or the other. So do gradients whose rule takes several ops. A new public function is tested here, or
stands in a table below with the reason why not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import dtrain.functional as F
from dtrain.base.dtype import DType, bfloat16, float16, float64
from dtrain.capture.trace import trace
from dtrain.core.tensor import Tensor, wrap
from dtrain.core.tensor_factory import tensor
from dtrain.kernels.formula.table import ROWS as FORMULAS

MAGNITUDES = {float16: (1e-4, 1.0, 300.0, 2e4), bfloat16: (1e-12, 1.0, 1e4, 1e12)}
LABELS = np.array([1, 0, 3, 2, 1, 3])
ROWS = 6
COLUMNS = 4

Function = Callable[..., Any]


def words(text: str) -> set[str]:
    return set(text.split())


def _of_labels(function: Function, **options: Any) -> Function:
    return lambda x: function(x, tensor(LABELS), **options)


def _target(x: Tensor) -> Tensor:
    """Constants between 0 and 1 that every dtype holds."""
    return tensor(np.arange(24).reshape(ROWS, COLUMNS) % 5 / 4, dtype=x.dtype)


IMAGE = (2, 3, 4)  # 24 elements as [N, C, L]


def _as_image(function: Function) -> Function:
    return lambda x: function(x.reshape((1, *IMAGE)))


def _pair(function: Function, **options: Any) -> Function:
    return lambda x: function(x[:3], x[3:], **options)


UNARY = "gelu logsigmoid sum mean max min prod logsumexp softmax log_softmax var std norm normalize copy"
CASES: dict[str, Function] = {
    **{row.name: _pair(getattr(F, row.name)) if row.is_binary else getattr(F, row.name) for row in FORMULAS},
    **{name: getattr(F, name) for name in words(UNARY)},
    **{f"norm {p}": lambda x, p=p: F.norm(x, p, 1) for p in (0, 0.5, 1, 3, 7.5, -1, np.inf, -np.inf)},
    **{f"normalize {p}": lambda x, p=p: F.normalize(x, p) for p in (1, 3, np.inf)},
    "std of columns": lambda x: F.std(x, 0),
    "pow": lambda x: F.pow(F.abs(x), 1.5),
    "pow of two": lambda x: F.pow(F.abs(x[:3]), F.tanh(x[3:]).detach()),
    "div broadcast": lambda x: x / x[0],
    "mul broadcast": lambda x: x * x[0],
    "clip": lambda x: F.clip(x, -0.5, 100.0),
    "where": lambda x: F.where(x > 0, x, 2.0),
    "prelu": lambda x: F.prelu(x, x[0]),
    "cumsum": lambda x: F.cumsum(x, 0),
    **{name: getattr(F, name) for name in words("amax amin log2 log10 exp2 frac trunc")},
    **{name: _pair(getattr(F, name)) for name in ("hypot",)},
    **{name: getattr(F, name) for name in words("celu glu hardtanh mish selu softmin tanhshrink")},
    **{name: _pair(getattr(F, name)) for name in words("huber_loss cosine_similarity")},
    "kl_div": lambda x: F.kl_div(x, _target(x)),
    "margin_ranking_loss": lambda x: F.margin_ranking_loss(x[:3], x[3:], F.sign(x[:3]).detach(), margin=0.5),
    "scaled_dot_product_attention": lambda x: F.scaled_dot_product_attention(x[:2], x[2:4], x[4:]),
    "lerp": lambda x: F.lerp(x[:3], x[3:], 0.3),
    "std_mean": lambda x: F.std_mean(x)[0],
    "var_mean": lambda x: F.var_mean(x)[1],
    "mm": lambda x: F.mm(x, x.T),
    "bmm": lambda x: F.bmm(x[None], x.T[None]),
    "mv": lambda x: F.mv(x, x[0]),
    "addmm": lambda x: F.addmm(x[:, :1], x, x[:1].T, beta=0.3, alpha=0.7),
    "baddbmm": lambda x: F.baddbmm(x[:, :1], x[None], x[None, :1].transpose(1, 2), beta=0.3, alpha=0.7),
    "einsum": lambda x: F.einsum("ij,kj->ik", x[:3], x[3:]),
    "tensordot": lambda x: F.tensordot(x[:3], x[3:], ((0, 1), (0, 1))),
    "cdist": lambda x: F.cdist(x[:3], x[3:]),
    "pairwise_distance": lambda x: F.pairwise_distance(x[:3], x[3:]),
    "cumprod": lambda x: F.cumprod(x[:2], 0),
    "diff": lambda x: F.diff(x, 2, 0),
    "fmod": _pair(F.fmod),
    "nan_to_num": lambda x: F.nan_to_num(x, 0.5),
    "quantile": lambda x: F.quantile(x, 0.3, 1),
    "interpolate": lambda x: F.interpolate(x.reshape(IMAGE), 5, mode="linear"),
    "matmul": lambda x: F.matmul(x, x, transpose_b=True),
    "dot": lambda x: F.dot(x[0], x[1]),
    "outer": lambda x: F.outer(x[0], x[1]),
    "linear": lambda x: F.linear(x, x[:2], x[0, :2]),
    "layer_norm": lambda x: F.layer_norm(x, COLUMNS),
    "rms_norm": lambda x: F.rms_norm(x, COLUMNS),
    "group_norm": lambda x: F.group_norm(x.reshape(IMAGE), 1),
    "instance_norm": lambda x: F.instance_norm(x.reshape(IMAGE)),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "batch_norm evaluating": lambda x: F.batch_norm(x, x[0].detach(), F.abs(x[1]).detach()),
    "conv2d": lambda x: F.conv2d(x.reshape((1, *IMAGE)), x[:2, :2].reshape(1, 2, 2, 1)),
    "conv1d": lambda x: F.conv1d(x.reshape(IMAGE), x[:1, :3].reshape(1, 3, 1)),
    "conv_transpose2d": lambda x: F.conv_transpose2d(x.reshape((1, *IMAGE)), x[:2, :2].reshape(2, 1, 2, 1)),
    "max_pool2d": _as_image(lambda x: F.max_pool2d(x, 2)),
    "max_pool1d": lambda x: F.max_pool1d(x.reshape(IMAGE), 2),
    "avg_pool2d": _as_image(lambda x: F.avg_pool2d(x, 2, 1)),
    "avg_pool1d": lambda x: F.avg_pool1d(x.reshape(IMAGE), 2, 1),
    "adaptive_avg_pool2d": _as_image(lambda x: F.adaptive_avg_pool2d(x, 2)),
    "adaptive_max_pool2d": _as_image(lambda x: F.adaptive_max_pool2d(x, 2)),
    "cross_entropy": _of_labels(F.cross_entropy),
    "cross_entropy ignoring": _of_labels(F.cross_entropy, ignore_index=1),
    "cross_entropy smoothed": _of_labels(F.cross_entropy, label_smoothing=0.1, reduction="sum"),
    "cross_entropy weighted": lambda x: F.cross_entropy(x, tensor(LABELS), weight=F.softmax(x[0]), label_smoothing=0.1),
    "cross_entropy dense": lambda x: F.cross_entropy(x, _target(x), label_smoothing=0.1),
    "nll_loss": _of_labels(F.nll_loss),
    "nll_loss ignoring": _of_labels(F.nll_loss, ignore_index=1),
    "binary_cross_entropy": lambda x: F.binary_cross_entropy(F.clip(F.abs(x), 0, 1), _target(x)),
    "binary_cross_entropy_with_logits": lambda x: F.binary_cross_entropy_with_logits(x, _target(x), pos_weight=2.0),
    **{name: _pair(getattr(F, name)) for name in words("mse_loss l1_loss smooth_l1_loss hinge_loss")},
    "smooth_l1_loss of elements": _pair(F.smooth_l1_loss, beta=3000.0, reduction="none"),
    "triplet_margin_loss": lambda x: F.triplet_margin_loss(x[:2], x[2:4], x[4:], eps=0),
    "embedding": lambda x: F.embedding(tensor([[1, 1], [1, 5]]), x),
    "scatter_add": lambda x: F.scatter_add(x, 0, tensor(np.zeros((ROWS, COLUMNS), np.int64)), x),
    **{
        f"scatter_reduce {way}": lambda x, way=way: F.scatter_reduce(
            F.ones((2, COLUMNS), dtype=x.dtype), 0, tensor(np.zeros((ROWS, COLUMNS), int)), x, way
        )
        for way in ("mean", "prod", "amax")
    },
    "index_add": lambda x: F.index_add(x, 0, tensor([1, 1]), x[:2]),
    "add_item": lambda x: F.add_item(x, tensor([1, 1]), x[:2]),
    "mesh_add": lambda x: F.mesh_add(x, (tensor([1, 1]), slice(None)), x[:2]),
}

WITHOUT_ARITHMETIC = words(
    """
    argmax argmin argsort sort topk top_k unique nonzero searchsorted equal greater greater_equal isfinite isinf
    isnan less_equal less logical_and logical_not logical_or logical_xor not_equal any all accuracy topk_accuracy
    take_along_dim one_hot bitwise_and bitwise_not bitwise_or bitwise_xor left_shift right_shift cond_take masked_select
    take_along_axis gather scatter index_put set_item get_item index_select narrow mesh_get mesh_set cat concat
    chunk flip pad roll split stack unbind add_axis broadcast_to expand expand_dims flatten move_axis permute
    remove_axis repeat reshape squeeze swap_axes tile transpose unsqueeze numel masked_fill ravel select t
    unflatten hstack vstack meshgrid count_nonzero diag diagonal diagonal_scatter tril triu cast isclose allclose
    pad_sequence relayout
    pixel_shuffle pixel_unshuffle tensor_split block_diag bincount bucketize
    """
)
MADE_FROM_NUMBERS = words(
    "tril_indices triu_indices arange eye full full_like linspace ones ones_like zeros zeros_like"
)
RANDOM = words("bernoulli dropout dropout2d multinomial normal permutation randint uniform")

# Gradients that cancel: right to the last digit of terms of this size. The softmaxes save their rounded output.
CANCELLING = {
    "softmax": 3.0, "log_softmax": 12.0, "softmin": 3.0, "scaled_dot_product_attention": 3e4, "tanhshrink": 1.0,
    "cosine_similarity": 1.0, "cross_entropy dense": 1e-5, "softsign": 1e-6,
}  # fmt: skip


def test_every_public_function_is_here():
    names = {name for name, value in vars(F).items() if callable(value) and not name.startswith("_")}
    known = {name.split()[0] for name in CASES} | WITHOUT_ARITHMETIC | MADE_FROM_NUMBERS | RANDOM
    assert names == known


def _sample(dtype: DType, magnitude: float) -> np.ndarray:
    random = np.random.default_rng(3)
    numbers = random.uniform(0.2, 1.0, (ROWS, COLUMNS)) * random.choice([-1.0, 1.0], (ROWS, COLUMNS)) * magnitude
    return numbers.astype(dtype.numpy)


def _value_and_gradient(function: Function, x: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    leaf = wrap(x.copy()).requires_grad_()
    result: Tensor = function(leaf)
    if not result.requires_grad:
        return result.numpy(), None
    weights = np.asarray(np.arange(result.size).reshape(result.shape) % 3 + 1, x.dtype)
    result.backward(wrap(weights))
    return result.numpy(), None if leaf.grad is None else leaf.grad.numpy()


def _assert_rounded_once(
    got: np.ndarray, exact: np.ndarray, dtype: DType, terms: float, digits: int, what: str
) -> None:
    """Within `digits` units in the last place of the exact result, or of `terms` where these cancel."""
    assert got.dtype == dtype.numpy
    info = ml_dtypes.finfo(dtype.numpy)
    epsilon, largest, tiny = float(info.eps), float(info.max), float(info.smallest_subnormal)
    found, wanted = got.astype(np.float64), exact.astype(dtype.numpy).astype(np.float64)
    allowed = digits * np.maximum(np.maximum(np.abs(exact), terms) * epsilon, tiny)
    at_the_end = np.isinf(found) & (np.abs(exact) > largest * (1 - digits * epsilon))
    right = (found == wanted) | (np.abs(found - exact) <= allowed) | (np.isnan(found) & np.isnan(wanted)) | at_the_end
    assert right.all(), f"{what}: got {found[~right][:4]}, right {exact[~right][:4]}"


@pytest.mark.parametrize("dtype", MAGNITUDES, ids=lambda dtype: dtype.tag)
@pytest.mark.parametrize("name", CASES)
def test_is_the_wide_result_rounded_once(name: str, dtype: DType):
    for magnitude in MAGNITUDES[dtype]:
        x = _sample(dtype, magnitude)
        value, gradient = _value_and_gradient(CASES[name], x)
        exact, exact_gradient = _value_and_gradient(CASES[name], x.astype(float64.numpy))
        with np.errstate(all="ignore"):
            terms = CANCELLING.get(name, 0.0)
            _assert_rounded_once(value, exact, dtype, 1e-5 if name == "tanhshrink" else 0.0, 1, f"value at {magnitude}")
            if gradient is not None:
                _assert_rounded_once(gradient, exact_gradient, dtype, terms, 4, f"gradient at {magnitude}")


# Made of several ops, which may round to the same by chance: looked at as graphs.
COMPOSED = words(
    """
    prelu addmm log2 log10 exp2 frac var_mean std_mean celu glu huber_loss kl_div margin_ranking_loss mse_loss l1_loss
    hinge_loss smooth_l1_loss nll_loss baddbmm cdist pairwise_distance fmod diff
    """
)
MOVES = words("cast get_item transpose sign constant")  # what a case does beside its function


@pytest.mark.parametrize("dtype", MAGNITUDES, ids=lambda dtype: dtype.tag)
@pytest.mark.parametrize("name", sorted(COMPOSED))
def test_nothing_in_between_is_short(name: str, dtype: DType):
    traced = trace(CASES[name])
    traced(tensor(_sample(dtype, 1.0)))
    (graph,) = traced.graphs
    short = {node.op.name for node in graph.nodes if any(value.type.dtype is dtype for value in node.outputs)}
    assert short <= MOVES
