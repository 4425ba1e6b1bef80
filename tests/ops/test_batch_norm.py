"""Batch norm against the plain formula in f64, running values, both derivatives, split batches, large offsets."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.function_gradient import assert_gradients
from helpers.tolerance import assert_close

import dtrain as dt
import dtrain.functional as F
from dtrain.autograd.backward_pass import grad
from dtrain.base.errors import DtypeError, ShapeError
from dtrain.core.apply import apply, apply_tuple
from dtrain.core.tensor import Tensor, wrap
from dtrain.ops.batch_norm import BatchNormTraining
from dtrain.opset.batch_norm import BACKWARD_SUMS, MERGE, MOMENTS, STATISTICS

RNG = np.random.default_rng(13)
SHAPES = [(5, 3), (4, 3, 5), (3, 3, 2, 4), (2, 3, 2, 3, 2)]


def draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


def plain(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float = 1e-5) -> np.ndarray:
    axes = (0, *range(2, x.ndim))
    column = (slice(None), *(None,) * (x.ndim - 2))
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / np.sqrt(variance + eps) * weight[column] + bias[column]


@pytest.mark.parametrize("shape", SHAPES)
def test_training_normalizes_by_the_batch(shape: tuple[int, ...]) -> None:
    x, weight, bias = draw(*shape), draw(3), draw(3)
    y = F.batch_norm(wrap(x), None, None, wrap(weight), wrap(bias), training=True)
    np.testing.assert_allclose(y.numpy(), plain(x, weight, bias), rtol=1e-10, atol=1e-12)
    without = F.batch_norm(wrap(x), None, None, training=True)
    np.testing.assert_allclose(without.numpy(), plain(x, np.ones(3), np.zeros(3)), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_first_and_second_derivatives(shape: tuple[int, ...]) -> None:
    def layer(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.batch_norm(x, None, None, weight, bias, training=True)

    assert_gradients(layer, draw(*shape), draw(3), draw(3), second=shape == SHAPES[0])


def test_evaluation_and_its_gradients() -> None:
    x, weight, bias, mean, variance = draw(4, 3, 2), draw(3), draw(3), draw(3), draw(3) ** 2 + 0.5

    def layer(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        return F.batch_norm(x, mean, variance, weight, bias, training=False)

    y = layer(*map(wrap, (x, weight, bias, mean, variance)))
    wanted = (x - mean[:, None]) / np.sqrt(variance[:, None] + 1e-5) * weight[:, None] + bias[:, None]
    np.testing.assert_allclose(y.numpy(), wanted, rtol=1e-12)
    assert_gradients(layer, x, weight, bias, mean, variance)
    fixed = (wrap(mean), wrap(variance))
    assert_gradients(lambda x, w, b: layer(x * x, w * w, b, *fixed), x, weight, bias, second=True)


def test_running_values_move_in_place_by_momentum() -> None:
    x, mean, variance = draw(6, 3, 2), np.full(3, 2.0), np.full(3, 3.0)
    running = wrap(mean.copy()), wrap(variance.copy())
    F.batch_norm(wrap(x), *running, training=True, momentum=0.3)
    np.testing.assert_allclose(running[0].numpy(), 0.7 * 2 + 0.3 * x.mean((0, 2)), rtol=1e-12)
    np.testing.assert_allclose(running[1].numpy(), 0.7 * 3 + 0.3 * x.var((0, 2), ddof=1), rtol=1e-12)
    before = running[0].numpy().copy()
    F.batch_norm(wrap(x), *running, training=False)
    assert np.array_equal(running[0].numpy(), before)


def test_large_offsets_keep_their_digits() -> None:
    x = (draw(64, 3) + 10000).astype(np.float32)
    y = F.batch_norm(wrap(x), None, None, training=True)
    wanted = plain(x.astype(np.float64), np.ones(3), np.zeros(3))
    np.testing.assert_allclose(y.numpy(), wanted, atol=2e-3)


def test_f16_input_with_f32_parameters() -> None:
    x, weight, bias = draw(8, 3, 4).astype(np.float16), draw(3).astype(np.float32), draw(3).astype(np.float32)
    tensor, scale = wrap(x).requires_grad_(), wrap(weight).requires_grad_()
    y = F.batch_norm(tensor, None, None, scale, wrap(bias), training=True)
    assert_close(y.numpy(), plain(x.astype(np.float64), weight, bias).astype(np.float16))
    y.sum().backward()
    assert tensor.grad is not None
    assert scale.grad is not None
    assert (tensor.grad.dtype.tag, scale.grad.dtype.tag) == ("f16", "f32")


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
@pytest.mark.parametrize("traced", [False, True])
def test_running_values_of_a_net_in_short_floats_move_too(dtype: str, traced: bool) -> None:
    """`net.to("f16")` casts them with everything else; statistics are computed in f32 and rounded once."""
    x = dt.tensor(draw(6, 3, 2)).to(dtype)
    layer = dt.nn.BatchNorm1d(3, momentum=0.25).to(dtype)
    (dt.trace(layer) if traced else layer)(x)
    wide = x.to("f64").numpy()
    unbiased = wide.var((0, 2), ddof=1)
    for buffer, wanted in ((layer.running_mean, 0.25 * wide.mean((0, 2))), (layer.running_var, 0.75 + 0.25 * unbiased)):
        assert buffer is not None and buffer.dtype.tag == dtype
        assert_close(buffer.numpy(), wanted.astype(buffer.numpy().dtype))
    y = layer.eval()(x)
    assert y.dtype.tag == dtype and np.isfinite(y.to("f32").numpy()).all()


def test_parts_of_a_batch_combine_to_the_whole() -> None:
    """What sync batch norm does over ranks, with the ranks' parts in one process: uneven, one of them empty."""
    x, dy = draw(9, 3, 2), draw(9, 3, 2)
    parts = [slice(0, 2), slice(2, 2), slice(2, 9)]
    weight, bias = wrap(draw(3)), wrap(draw(3))
    whole = wrap(x).requires_grad_()
    y = BatchNormTraining()(whole, weight, bias)
    (dx,) = grad(y, whole, [wrap(dy)])
    assert dx is not None

    stats = apply(MERGE, F.stack([apply(STATISTICS, wrap(x[part])) for part in parts]))
    mean, inverse_std, _ = (wrap(a.numpy()) for a in _moments(stats))
    of_parts = [apply_tuple(BACKWARD_SUMS, wrap(dy[p]), wrap(x[p]), mean, inverse_std) for p in parts]
    sums = F.stack([sums[0] for sums in of_parts]).sum(0), F.stack([sums[1] for sums in of_parts]).sum(0)
    for part in parts:
        layer = BatchNormTraining(combine_statistics=lambda _: stats, combine_sums=lambda *_: sums)
        mine = wrap(x[part]).requires_grad_()
        result = layer(mine, weight, bias)
        np.testing.assert_allclose(result.numpy(), y.numpy()[part], rtol=1e-12)
        (gradient,) = grad(result, mine, [wrap(dy[part])])
        assert gradient is not None
        np.testing.assert_allclose(gradient.numpy(), dx.numpy()[part], rtol=1e-10, atol=1e-12)


def _moments(stats: Tensor) -> list[Tensor]:
    from dtrain.core.apply import apply_all

    return apply_all(MOMENTS, [stats], {"eps": 1e-5})


def test_parameter_gradients_come_from_this_ranks_sums() -> None:
    x, weight, bias = wrap(draw(4, 3)), wrap(draw(3)).requires_grad_(), wrap(draw(3)).requires_grad_()
    layer = BatchNormTraining(combine_sums=lambda *sums: (sums[0] * 2, sums[1] * 2))
    layer(x, weight, bias).sum().backward()
    assert bias.grad is not None
    np.testing.assert_allclose(bias.grad.numpy(), [4.0] * 3)


def test_second_derivative_over_ranks_is_refused() -> None:
    x = wrap(draw(4, 3)).requires_grad_()
    layer = BatchNormTraining(combine_sums=lambda *sums: sums)
    y = layer(x, wrap(draw(3)), wrap(draw(3)))
    with pytest.raises(RuntimeError, match="over several ranks: expected to be differentiated once"):
        grad(y.sum(), x, create_graph=True)


def test_errors() -> None:
    with pytest.raises(ShapeError, match=r"more than one value per channel.*use a larger batch"):
        F.batch_norm(F.zeros((1, 3)), None, None, training=True)
    with pytest.raises(ShapeError, match="at least 2 axes"):
        F.batch_norm(F.zeros(3), None, None, training=True)
    with pytest.raises(ShapeError, match="a value for each of 3 channels"):
        F.batch_norm(F.zeros((2, 3)), None, None, F.zeros(4), training=True)
    with pytest.raises(ShapeError, match=r"running values of shape \(3,\)"):
        F.batch_norm(F.zeros((2, 3)), F.zeros(2), F.zeros(2), training=True)
    with pytest.raises(DtypeError, match="a floating dtype"):
        F.batch_norm(F.zeros((2, 3), dtype="s32"), None, None, training=True)
