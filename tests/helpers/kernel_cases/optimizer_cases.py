"""Cases of optimizer updates: many tensors of every size in one call, and a single one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from helpers.kernel_cases.case import SIZES, Array, normal

from dtrain.kernels.call import Call, Typed

TENSORS = ([(size,) for size in SIZES], [(5,)], [(3, 7), (), (2, 0), (4, 1, 9)], [])


def _group(shapes: list[tuple[int, ...]], seed: int) -> list[Array]:
    return [normal(seed * 100 + i, *shape) for i, shape in enumerate(shapes)]


def sgd_update() -> Iterator[Call]:
    settings = [(0.0, 0.0, 0.0, False), (0.0, 0.0, 0.1, False), (0.9, 0.0, 0.01, False), (0.9, 0.2, 0.0, False)]
    for shapes, (momentum, dampening, decay, nesterov) in product(TENSORS, [*settings, (0.9, 0.0, 0.01, True)]):
        count = len(shapes)
        groups = [_group(shapes, seed) for seed in range(3 if momentum else 2)]
        lr = np.array(0.1, np.float32 if nesterov else np.float64)
        outputs = shapes * 2 if momentum else shapes
        # params are inputs 1…, buffers come after the gradients.
        aliases = {i: 1 + i if i < count else 1 + count + i for i in range(len(outputs))}
        yield Call(
            label=f"{count} tensors {momentum} {dampening} {decay} {nesterov}",
            inputs=(lr, *(array for group in groups for array in group)),
            attrs={
                "num_tensors": count,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": decay,
                "nesterov": nesterov,
            },
            outputs=tuple(outputs),
            aliases=aliases,
            keep=(0,),
        )


def adam_update() -> Iterator[Call]:
    for shapes, (decay, decoupled), step in product(TENSORS, [(0.0, False), (0.01, False), (0.01, True)], [0, 7]):
        count = len(shapes)
        squares = [np.asarray(np.abs(array)) for array in _group(shapes, 3)]
        groups = [_group(shapes, 0), _group(shapes, 1), _group(shapes, 2), squares]
        aliases = {0: 1, **{1 + i: (2 + i if i < count else 2 + count + i) for i in range(3 * count)}}
        yield Call(
            label=f"{count} tensors decay {decay} {decoupled} step {step}",
            inputs=(np.array(0.01), np.array(step, np.int64), *(array for group in groups for array in group)),
            attrs={
                "num_tensors": count,
                "beta1": 0.9,
                "beta2": 0.99,
                "eps": 1e-6,
                "weight_decay": decay,
                "decoupled": decoupled,
            },
            outputs=(Typed((), "int64"), *(shape for shape in shapes * 3)),
            aliases=aliases,
            keep=(0,),
            magnitude=4.0,
        )


CASES = {"sgd_update": sgd_update, "adam_update": adam_update}
