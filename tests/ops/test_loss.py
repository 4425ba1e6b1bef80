"""Losses against their formulas: reductions, shapes, label smoothing, ignored and bad targets, empty batches."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain.functional as F
from dtrain.capture.trace import trace
from dtrain.core.tensor_factory import tensor

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(6, 4)) * 2
TARGETS = np.array([0, 3, 1, 1, 2, 0])
P, T = RANDOM.uniform(0.05, 0.95, (3, 4)), RANDOM.uniform(0, 1, (3, 4))


def _log_softmax(x: np.ndarray, axis: int = 1) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


def _smoothed(epsilon: float) -> np.ndarray:
    return np.eye(4)[TARGETS] * (1 - epsilon) + epsilon / 4


REDUCE = {"mean": np.mean, "sum": np.sum, "none": lambda x: x}


@pytest.mark.parametrize("reduction", REDUCE)
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 1.0])
def test_cross_entropy(epsilon, reduction):
    x = tensor(LOGITS, requires_grad=True)
    got = F.cross_entropy(x, tensor(TARGETS), label_smoothing=epsilon, reduction=reduction)
    losses = -(_smoothed(epsilon) * _log_softmax(LOGITS)).sum(axis=1)
    np.testing.assert_allclose(got.numpy(), REDUCE[reduction](losses))
    got.sum().backward()
    scale = 6 if reduction == "mean" else 1
    wanted = (np.exp(_log_softmax(LOGITS)) - _smoothed(epsilon)) / scale
    np.testing.assert_allclose(x.grad.numpy(), wanted, atol=1e-15)


@pytest.mark.parametrize("tag", ["s8", "u8", "s16", "s32", "s64"])
def test_cross_entropy_takes_any_integer_targets(tag):
    wanted = F.cross_entropy(tensor(LOGITS), tensor(TARGETS)).item()
    assert F.cross_entropy(tensor(LOGITS), tensor(TARGETS, dtype=tag)).item() == wanted


def test_cross_entropy_of_dense_predictions():
    logits, targets = RANDOM.normal(size=(2, 3, 4, 5)), RANDOM.integers(0, 3, (2, 4, 5))
    losses = F.cross_entropy(tensor(logits), tensor(targets), reduction="none")
    wanted = -np.take_along_axis(_log_softmax(logits), targets[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(losses.numpy(), wanted)
    np.testing.assert_allclose(F.cross_entropy(tensor(logits), tensor(targets)).item(), wanted.mean())


def test_cross_entropy_of_probabilities():
    dense = F.cross_entropy(tensor(LOGITS), tensor(np.eye(4)[TARGETS]), label_smoothing=0.2)
    wanted = F.cross_entropy(tensor(LOGITS), tensor(TARGETS), label_smoothing=0.2)
    np.testing.assert_allclose(dense.item(), wanted.item())


def test_ignored_targets_count_neither_in_the_sum_nor_in_the_mean():
    x = tensor(LOGITS, requires_grad=True)
    targets = np.where(TARGETS == 1, -100, TARGETS)
    loss = F.cross_entropy(x, tensor(targets), ignore_index=-100)
    kept = targets != -100
    wanted = F.cross_entropy(tensor(LOGITS[kept]), tensor(TARGETS[kept]))
    np.testing.assert_allclose(loss.item(), wanted.item())
    loss.backward()
    assert (x.grad.numpy()[~kept] == 0).all() and (x.grad.numpy()[kept] != 0).all()
    assert F.cross_entropy(x, tensor(np.full(6, -100)), ignore_index=-100).item() == 0.0


def test_a_masked_class_costs_nothing():
    logits = LOGITS.copy()
    logits[:, 2] = -np.inf
    kept = TARGETS != 2
    losses = F.cross_entropy(tensor(logits[kept]), tensor(TARGETS[kept]), reduction="none").numpy()
    assert np.isfinite(losses).all()


def test_huge_logits():
    loss = F.cross_entropy(tensor([[1e4, -1e4]], dtype="f32"), tensor([1]))
    assert loss.item() == 2e4


@pytest.mark.parametrize("bad", [-1, 4])
def test_bad_targets_are_named(bad):
    targets = tensor(np.array([0, bad, 1, 1, 2, 0]))
    with pytest.raises(ValueError, match=f"expected targets from 0 to 3, got {bad}; check the labels"):
        F.cross_entropy(tensor(LOGITS), targets)
    with pytest.raises(ValueError, match="nll_loss: expected targets from 0 to 3"):
        F.nll_loss(tensor(LOGITS), targets)
    with pytest.raises(ValueError, match=f"expected targets from 0 to 3, got {bad}; check the labels"):
        trace(lambda x, t: F.cross_entropy(x, t))(tensor(LOGITS), targets)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"cross_entropy: expected scores \[N,C,d…\] and class numbers \[N,d…\]"):
        F.cross_entropy(tensor(LOGITS), tensor(TARGETS[:, None]))
    with pytest.raises(ValueError, match="mse_loss: expected prediction and target of one shape"):
        F.mse_loss(tensor(np.zeros((4, 1))), tensor(np.zeros(4)))
    with pytest.raises(ValueError, match="l1_loss: expected reduction mean, sum, none, got 'avg'"):
        F.l1_loss(tensor(P), tensor(T), reduction="avg")
    with pytest.raises(ValueError, match=r"expected label_smoothing in \[0, 1\], got 1.5"):
        F.cross_entropy(tensor(LOGITS), tensor(TARGETS), label_smoothing=1.5)


def test_an_empty_batch_has_no_mean_and_takes_part_in_backward():
    x = tensor(LOGITS[:0], requires_grad=True)
    loss = F.cross_entropy(x, tensor(TARGETS[:0]))
    loss.backward()
    assert np.isnan(loss.item()) and x.grad.shape == (0, 4)
    assert F.cross_entropy(x, tensor(TARGETS[:0]), reduction="sum").item() == 0.0


@pytest.mark.parametrize("reduction", REDUCE)
def test_nll_loss_after_log_softmax_is_cross_entropy(reduction):
    got = F.nll_loss(F.log_softmax(tensor(LOGITS), 1), tensor(TARGETS), reduction=reduction)
    wanted = F.cross_entropy(tensor(LOGITS), tensor(TARGETS), reduction=reduction)
    np.testing.assert_allclose(got.numpy(), wanted.numpy())


SIGNS = np.where(T > 0.5, 1.0, -1.0)
FORMULAS = {
    "mse_loss": (T, (P - T) ** 2),
    "l1_loss": (T, np.abs(P - T)),
    "smooth_l1_loss": (T * 5, np.where(np.abs(P - T * 5) < 1, (P - T * 5) ** 2 / 2, np.abs(P - T * 5) - 0.5)),
    "binary_cross_entropy": (T, -T * np.log(P) - (1 - T) * np.log(1 - P)),
    "binary_cross_entropy_with_logits": (T, np.log1p(np.exp(P)) - P * T),
    "hinge_loss": (SIGNS, np.maximum(0, 1 - P * SIGNS)),
}


@pytest.mark.parametrize("reduction", REDUCE)
@pytest.mark.parametrize("name", FORMULAS)
def test_losses_follow_their_formulas(name, reduction):
    target, losses = FORMULAS[name]
    got = getattr(F, name)(tensor(P), tensor(target), reduction=reduction)
    np.testing.assert_allclose(got.numpy(), REDUCE[reduction](losses), rtol=1e-12)


def test_parameters_of_losses():
    np.testing.assert_allclose(
        F.smooth_l1_loss(tensor([2.0]), tensor([0.0]), beta=4.0).item(), 2.0**2 / (2 * 4), rtol=1e-6
    )
    assert F.hinge_loss(tensor([-1.0]), tensor([1.0]), norm="L2").item() == 4.0
    weighted = F.binary_cross_entropy_with_logits(tensor(P), tensor(T), pos_weight=3.0, reduction="none").numpy()
    sigmoid = 1 / (1 + np.exp(-P))
    np.testing.assert_allclose(weighted, -3 * T * np.log(sigmoid) - (1 - T) * np.log(1 - sigmoid))


def test_triplet_margin_loss():
    anchor, near, far = RANDOM.normal(size=(3, 5, 4))
    losses = np.linalg.norm(anchor - near + 1e-6, axis=1) - np.linalg.norm(anchor - far + 1e-6, axis=1)
    losses = np.maximum(losses + 0.5, 0)
    got = F.triplet_margin_loss(tensor(anchor), tensor(near), tensor(far), margin=0.5, reduction="none")
    np.testing.assert_allclose(got.numpy(), losses)


def test_binary_losses_at_their_extremes():
    logits = tensor([-1e4, 1e4], requires_grad=True)
    loss = F.binary_cross_entropy_with_logits(logits, tensor([1.0, 1.0]), reduction="none")
    loss.sum().backward()
    assert loss.tolist() == [1e4, 0.0] and logits.grad.tolist() == [-1.0, 0.0]
    certain = F.binary_cross_entropy(tensor([0.0, 1.0]), tensor([0.0, 1.0]), reduction="none")
    assert certain.tolist() == [0.0, 0.0]
    wrong = F.binary_cross_entropy(tensor([0.0]), tensor([1.0]))
    assert wrong.item() == 100.0


def test_logits_lose_no_digits_at_any_size():
    """softplus(x) − x·t cancels for certain predictions; in f64 −log σ(x) = log1p(e^−x)."""
    sizes = np.array([1.0, 5.0, 15.0, 40.0, 80.0], np.float32)
    for logits, target in ((sizes, 1.0), (-sizes, 0.0)):
        wanted = np.log1p(np.exp(-sizes.astype(np.float64)))
        for pos_weight in (None, 1.0):
            x = tensor(logits, requires_grad=True)
            got = F.binary_cross_entropy_with_logits(
                x, tensor(np.full(5, target, np.float32)), pos_weight=pos_weight, reduction="none"
            )
            np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-6)
            got.sum().backward()
            np.testing.assert_allclose(np.abs(x.grad.numpy()), 1 / (1 + np.exp(sizes.astype(np.float64))), rtol=1e-6)
    short = F.binary_cross_entropy_with_logits(tensor([5.0], dtype="bf16"), tensor([1.0], dtype="bf16"))
    np.testing.assert_allclose(short.item(), 6.715e-3, rtol=4e-3)


def test_infinite_logits_are_certain():
    x = tensor([np.inf, -np.inf, np.inf, -np.inf], requires_grad=True)
    t = tensor([0.0, 1.0, 1.0, 0.0], requires_grad=True)
    losses = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    assert losses.tolist() == [np.inf, np.inf, 0.0, 0.0]
    losses.sum().backward()
    assert x.grad.tolist() == [1.0, -1.0, 0.0, 0.0]
    assert not np.isnan(t.grad.numpy()).any()


def test_probabilities_outside_of_0_and_1_are_refused():
    for bad in (1.5, -0.1):
        with pytest.raises(ValueError, match=rf"binary_cross_entropy: expected predictions in \[0, 1\], got {bad}"):
            F.binary_cross_entropy(tensor([0.5, bad]), tensor([1.0, 1.0]))
        traced = trace(lambda p, t: F.binary_cross_entropy(p, t) * 0)
        with pytest.raises(ValueError, match=r"binary_cross_entropy: expected predictions in \[0, 1\]"):
            traced(tensor([0.5, bad]), tensor([1.0, 1.0]))
    assert np.isnan(F.binary_cross_entropy(tensor([np.nan]), tensor([1.0])).item())


def test_a_probability_of_0_where_1_is_meant_has_a_gradient():
    p = tensor([0.0, 1.0, 0.0], requires_grad=True)
    F.binary_cross_entropy(p, tensor([1.0, 0.0, 0.0]), reduction="sum").backward()
    np.testing.assert_allclose(p.grad.numpy(), [-1e12, 1e12, 0.0], rtol=1e-6)


@pytest.mark.parametrize("tag", ["f16", "bf16"])
def test_many_samples_of_a_short_float_are_counted_right(tag):
    """70,000 is no f16: neither the sum nor the count of the losses may be one."""
    logits = tensor(np.zeros((70_000, 3), np.float32)).to(tag)
    targets = tensor(np.where(np.arange(70_000) % 2, 1, -100))
    for function in (F.cross_entropy, lambda x, t, **options: F.nll_loss(F.log_softmax(x, 1), t, **options)):
        np.testing.assert_allclose(function(logits, targets, ignore_index=-100).item(), np.log(3), rtol=4e-3)


WEIGHT = np.array([0.5, 2.0, 1.0, 3.0])


@pytest.mark.parametrize("reduction", REDUCE)
@pytest.mark.parametrize("epsilon", [0.0, 0.2])
@pytest.mark.parametrize("ignored", [None, 1])
def test_weights_of_classes(ignored, epsilon, reduction):
    """Each class's term of −Σ q · log p times its weight; the mean divides by the weights of the samples' classes."""
    got = F.cross_entropy(
        tensor(LOGITS),
        tensor(TARGETS),
        weight=tensor(WEIGHT),
        label_smoothing=epsilon,
        ignore_index=ignored,
        reduction=reduction,
    )
    kept = (ignored != TARGETS).astype(float)
    losses = -(_smoothed(epsilon) * WEIGHT * _log_softmax(LOGITS)).sum(axis=1) * kept
    shares = (WEIGHT[TARGETS] * kept).sum()
    wanted = {"none": losses, "sum": losses.sum(), "mean": losses.sum() / shares}[reduction]
    np.testing.assert_allclose(got.numpy(), wanted)
    if not epsilon:
        options = {"weight": tensor(WEIGHT), "ignore_index": ignored, "reduction": reduction}
        got = F.nll_loss(F.log_softmax(tensor(LOGITS), 1), tensor(TARGETS), **options)
        np.testing.assert_allclose(got.numpy(), wanted)


def test_weights_of_classes_with_probabilities_and_of_elements():
    q = np.eye(4)[TARGETS]
    got = F.cross_entropy(tensor(LOGITS), tensor(q), weight=tensor(WEIGHT))
    np.testing.assert_allclose(got.item(), -(q * WEIGHT * _log_softmax(LOGITS)).sum(axis=1).mean())
    for name in ("binary_cross_entropy", "binary_cross_entropy_with_logits"):
        function = getattr(F, name)
        losses = function(tensor(P), tensor(T), reduction="none").numpy()
        got = function(tensor(P), tensor(T), weight=tensor(WEIGHT))
        np.testing.assert_allclose(got.item(), (losses * WEIGHT).mean())
    with pytest.raises(ValueError, match=r"cross_entropy: expected a weight a class, \[4\], got f64\[3\]"):
        F.cross_entropy(tensor(LOGITS), tensor(TARGETS), weight=tensor(WEIGHT[:3]))


def test_one_sample_without_a_batch_axis():
    assert (
        F.cross_entropy(tensor(LOGITS[1]), tensor(3)).item() == F.cross_entropy(tensor(LOGITS[1:2]), tensor([3])).item()
    )
    losses = F.nll_loss(tensor(_log_softmax(LOGITS)[1]), tensor(3), reduction="none")
    assert losses.shape == () and losses.item() == -_log_softmax(LOGITS)[1, 3]


@pytest.mark.parametrize("loss", [F.cross_entropy, F.nll_loss])
@pytest.mark.parametrize("is_traced", [False, True])
def test_labels_of_pytorch_that_count_for_nothing_are_explained(loss, is_traced):
    targets = tensor([0, -100, 1])
    logits = F.log_softmax(tensor(LOGITS[:3]))
    with pytest.raises(ValueError, match="ignore_index= leaves some out"):
        (trace(lambda x, t: loss(x, t)) if is_traced else loss)(logits, targets)
    kept = tensor([0, 1])
    rows = F.stack([logits[0], logits[2]])
    assert loss(logits, targets, ignore_index=-100).item() == pytest.approx(loss(rows, kept).item())
