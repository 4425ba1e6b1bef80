"""Softmax and cross entropy in one op, with label smoothing.

Shapes: logits[N,C], targets[N] class numbers (s32 or s64), losses[N], probabilities[N,C]. The smoothed target is
q = (1 − ε)·onehot + ε/C. Probabilities are kept for the gradient.
"""

from __future__ import annotations

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.check_range import check_range
from dtrain.kernels.reference.precision import store, widen
from dtrain.kernels.registry import reference


@reference("softmax_cross_entropy", inputs="T I")
def softmax_cross_entropy(logits: Array, targets: Array, out: tuple[Array, Array], *, label_smoothing: float) -> None:
    """loss = log Σ exp(z) − Σ q·z per row; probabilities = softmax(z). Raises ValueError for a target out of range."""
    xp = array_module(logits)
    losses, probabilities = out
    check_range(  # negative targets would silently count from the end
        "softmax_cross_entropy",
        targets,
        0,
        logits.shape[1],
        wanted=f"targets from 0 to {logits.shape[1] - 1}",
        advice="check the labels (ignore_index= leaves some out), and the size of the last layer",
        error=ValueError,
    )
    if logits.size == 0:
        return
    shifted = widen(logits)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    exponentials = xp.exp(shifted)
    total = exponentials.sum(axis=1, keepdims=True)
    store(probabilities, exponentials / total)
    log_total = xp.log(total)[:, 0]
    picked = xp.take_along_axis(shifted, targets[:, None].astype("int64"), axis=1)[:, 0]
    loss = log_total - picked
    if label_smoothing:
        # Only then may a masked class (logit −∞) make the loss infinite: 0 · ∞ would be NaN.
        loss = (1 - label_smoothing) * loss + label_smoothing * (log_total - shifted.mean(axis=1))
    store(losses, loss)


@reference("softmax_cross_entropy_backward", inputs="T T I")
def softmax_cross_entropy_backward(
    grad: Array, probabilities: Array, targets: Array, out: Array, *, label_smoothing: float
) -> None:
    """dlogits = grad · (probabilities − q), grad[N] the gradient of each row's loss."""
    xp = array_module(probabilities)
    rows, classes = probabilities.shape
    difference = widen(probabilities) - label_smoothing / max(classes, 1)
    difference[xp.arange(rows), targets] -= 1 - label_smoothing
    store(out, widen(grad)[:, None] * difference)
