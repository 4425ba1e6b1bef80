"""The update formulas again, one number at a time in float64: what the optimizers are compared with."""

from __future__ import annotations

import math


def sgd(param, grads, *, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, maximize=False):
    """The number after one update for each gradient."""
    buffer = 0.0
    for step, grad in enumerate(grads):
        grad = (-grad if maximize else grad) + weight_decay * param
        if momentum:
            buffer = momentum * buffer + (1 - dampening if step else 1) * grad
            grad = grad + momentum * buffer if nesterov else buffer
        param -= lr * grad
    return param


def adam(
    param, grads, *, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, maximize=False, decoupled=False, amsgrad=False
):
    """The number after one update for each gradient."""
    average = square = largest = 0.0
    for step, grad in enumerate(grads, 1):
        grad = -grad if maximize else grad
        if decoupled:
            param *= 1 - lr * weight_decay
        else:
            grad += weight_decay * param
        average = betas[0] * average + (1 - betas[0]) * grad
        square = betas[1] * square + (1 - betas[1]) * grad * grad
        largest = max(largest, square) if amsgrad else square
        denominator = math.sqrt(largest / (1 - betas[1] ** step)) + eps
        param -= lr * average / (1 - betas[0] ** step) / denominator
    return param
