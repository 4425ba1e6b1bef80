"""Optimizer updates over many tensors in one call: a step is one node of the graph.

Tensors come grouped: all parameters, then all gradients, then each kind of state. `out` lists the new parameters and
state in the same order and may be (and normally is) the inputs themselves. `lr` and `step` are 0-d arrays, so that a
schedule changes neither the graph nor its attributes.
"""

from __future__ import annotations

from collections.abc import Sequence

from dtrain.kernels.array_module import Array, array_module
from dtrain.kernels.reference.precision import accumulation_dtype, store, widen
from dtrain.kernels.registry import reference


def _outputs(out: Array | Sequence[Array]) -> Sequence[Array]:
    """An op of one output gets the array itself."""
    return out if isinstance(out, (tuple, list)) else (out,)


def _group(arrays: Sequence[Array], index: int, num_tensors: int) -> Sequence[Array]:
    return arrays[index * num_tensors : (index + 1) * num_tensors]


@reference("sgd_update", inputs="S T*")
def sgd_update(
    lr: Array,
    *arrays: Array,
    out: Array | Sequence[Array],
    num_tensors: int,
    momentum: float,
    dampening: float,
    weight_decay: float,
    nesterov: bool,
) -> None:
    """Stochastic gradient descent with momentum, PyTorch's formula.

    arrays = params, grads and, with momentum, buffers; out = params and, with momentum, buffers.
    g = grad + weight_decay·p; b = momentum·b + (1 − dampening)·g; p −= lr · (g + momentum·b if nesterov else b).
    Buffers begin as zeros, which is PyTorch's first step b = g where dampening is 0; else the optimizer begins them.
    """
    out = _outputs(out)
    params, grads, buffers = (_group(arrays, index, num_tensors) for index in range(3))
    for i in range(num_tensors):
        param = widen(params[i])
        rate = lr.astype(param.dtype)
        direction = widen(grads[i]).astype(param.dtype, copy=False)
        if weight_decay != 0:
            direction = direction + weight_decay * param
        if momentum != 0:
            buffer = momentum * widen(buffers[i]) + (1 - dampening) * direction
            direction = direction + momentum * buffer if nesterov else buffer
            store(out[num_tensors + i], buffer)
        store(out[i], param - rate * direction)


@reference("adam_update", inputs="S N T*")
def adam_update(
    lr: Array,
    step: Array,
    *arrays: Array,
    out: Array | Sequence[Array],
    num_tensors: int,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    amsgrad: bool = False,
) -> None:
    """Adam (Kingma, Ba 2015), and AdamW (Loshchilov, Hutter 2019) where weight decay is `decoupled`.

    arrays = params, grads, exp_avgs m, exp_avg_sqs v; out = step, params, m, v. t = step + 1 is stored and used.
    m = β1·m + (1 − β1)·g; v = β2·v + (1 − β2)·g²; p −= lr/(1 − β1ᵗ) · m / (√v/√(1 − β2ᵗ) + eps).
    Weight decay adds weight_decay·p to g, or, decoupled, first scales p by 1 − lr·weight_decay. With `amsgrad` a fifth
    group holds the largest v so far, which stands in the place of v (Reddi et al. 2018).
    """
    xp = array_module(lr)
    out = _outputs(out)
    params, grads, averages, squares, largest = (_group(arrays, index, num_tensors) for index in range(5))
    now = step + 1
    count = now.astype("float64")
    correction1, correction2 = 1 - beta1**count, xp.sqrt(1 - beta2**count)
    for i in range(num_tensors):
        dtype = accumulation_dtype(params[i].dtype)
        rate = (lr / correction1).astype(dtype)
        param, grad = widen(params[i]), widen(grads[i]).astype(dtype, copy=False)
        if weight_decay != 0 and decoupled:
            param = param * (1 - lr.astype(dtype) * weight_decay)
        elif weight_decay != 0:
            grad = grad + weight_decay * param
        average = beta1 * widen(averages[i]) + (1 - beta1) * grad
        square = beta2 * widen(squares[i]) + (1 - beta2) * grad * grad
        size = xp.maximum(widen(largest[i]), square) if amsgrad else square
        denominator = xp.sqrt(size) / correction2.astype(dtype) + eps
        store(out[1 + i], param - rate * average / denominator)
        store(out[1 + num_tensors + i], average)
        store(out[1 + 2 * num_tensors + i], square)
        if amsgrad:
            store(out[1 + 3 * num_tensors + i], size)
    out[0][...] = now
