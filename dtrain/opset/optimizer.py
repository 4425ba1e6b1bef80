"""Optimizer updates over many tensors at once: one op, so one node of the graph, a step.

Inputs are grouped: all parameters, then all gradients, then each kind of state. The outputs overwrite parameters and
state through `dtrain.core.apply.update`. The learning rate (and Adam's step count) are 0-d tensors, so that a schedule
changes neither the graph nor its attributes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dtrain.base.dtype import int64
from dtrain.base.errors import DtypeError, ShapeError, expected
from dtrain.base.tensor_type import TensorType
from dtrain.graph.op import Op, register_op
from dtrain.kernels.call import Call, Typed, large


def _check_groups(op: str, types: tuple[TensorType, ...], num_tensors: int, num_groups: int) -> None:
    if num_tensors < 1 or len(types) != num_groups * num_tensors:
        wanted = f"{num_groups} groups of {num_tensors} tensors"
        raise ShapeError(expected(op, wanted, f"{len(types)} tensors"))
    for position, type in enumerate(types):
        parameter = types[position % num_tensors]
        if type.shape != parameter.shape:
            raise ShapeError(expected(op, f"a gradient and state like their parameter {parameter}", str(type)))
        if type.dtype is not types[0].dtype or not type.dtype.is_floating:
            raise DtypeError(expected(op, f"floating tensors of one dtype ({types[0].dtype.tag})", str(type)))


def _check_scalar(op: str, what: str, type: TensorType) -> None:
    if (
        type.shape != ()
        or (what == "lr" and not type.dtype.is_floating)
        or (what == "step" and type.dtype is not int64)
    ):
        wanted = "lr as a floating 0-d tensor" if what == "lr" else "step as an s64 0-d tensor"
        raise ShapeError(expected(op, wanted, str(type)))


def _sgd_infer(lr: TensorType, *types: TensorType, num_tensors: int, momentum: float, **_: Any) -> Any:
    num_groups = 3 if momentum else 2
    _check_scalar("sgd_update", "lr", lr)
    _check_groups("sgd_update", types, num_tensors, num_groups)
    return types[:num_tensors] + types[2 * num_tensors :]


def _sgd_aliases(attrs: dict[str, Any]) -> dict[int, int]:
    n = attrs["num_tensors"]
    aliases = {i: 1 + i for i in range(n)}
    if attrs["momentum"]:
        aliases.update({n + i: 1 + 2 * n + i for i in range(n)})
    return aliases


def _sgd_call(shapes: tuple[tuple[int, ...], ...], **options: Any) -> Call:
    attrs = {"num_tensors": len(shapes), "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0, "nesterov": False}
    attrs.update(options)
    num_groups = 3 if attrs["momentum"] else 2
    return Call(inputs=(np.asarray(0.1, np.float32), *shapes * num_groups), attrs=attrs)


_LR = Typed((), "float32")

_ADAM_W = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01, "decoupled": True}


# The parameters of models whose updates benchmarks time.
_MODELS: dict[str, tuple[tuple[int, ...], ...]] = {
    "MLP of 6": ((256, 784), (256,), (256, 256), (256,), (10, 256), (10,)),
    "62 of 64x64x9": ((64, 64, 9),) * 62,
}


def _large_calls(*scalars: Typed, groups: int, **attrs: Any) -> list[Call]:
    return [
        large(label, *scalars, *shapes * groups, num_tensors=len(shapes), **attrs) for label, shapes in _MODELS.items()
    ]


SGD_UPDATE = register_op(
    Op(
        name="sgd_update",
        infer=_sgd_infer,
        aliases=_sgd_aliases,
        calls=lambda: [
            _sgd_call(((5,),)),
            _sgd_call(((17,), (3, 4), ()), weight_decay=0.1),
            _sgd_call(((16,), (3, 1)), momentum=0.9, dampening=0.1),
            _sgd_call(((33,), (0, 2)), momentum=0.9, weight_decay=0.01, nesterov=True),
            *_large_calls(_LR, groups=3, momentum=0.9, dampening=0.0, weight_decay=1e-4, nesterov=False),
        ],
    )
)


def _adam_infer(lr: TensorType, step: TensorType, *types: TensorType, num_tensors: int, **attrs: Any) -> Any:
    _check_scalar("adam_update", "lr", lr)
    _check_scalar("adam_update", "step", step)
    _check_groups("adam_update", types, num_tensors, 5 if attrs.get("amsgrad") else 4)
    return (step, *types[:num_tensors], *types[2 * num_tensors :])


def _adam_aliases(attrs: dict[str, Any]) -> dict[int, int]:
    n, num_states = attrs["num_tensors"], 3 if attrs.get("amsgrad") else 2
    updated = {1 + i: 2 + i for i in range(n)}
    states = {1 + n + i: 2 + 2 * n + i for i in range(num_states * n)}
    return {0: 1, **updated, **states}


def _adam_call(shapes: tuple[tuple[int, ...], ...], **options: Any) -> Call:
    attrs = {"num_tensors": len(shapes), "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    attrs.update(options)
    attrs.setdefault("decoupled", False)
    # The averages of squared gradients are not negative.
    return Call(
        inputs=(np.asarray(0.1, np.float32), np.asarray(3, np.int64), *shapes * (5 if attrs.get("amsgrad") else 4)),
        attrs=attrs,
        low=0.0,
        high=2.0,
    )


ADAM_UPDATE = register_op(
    Op(
        name="adam_update",
        infer=_adam_infer,
        aliases=_adam_aliases,
        beside=(1,),
        calls=lambda: [
            _adam_call(((5,),)),
            _adam_call(((17,), (3, 4), ()), weight_decay=0.1),
            _adam_call(((33,), (0, 2)), weight_decay=0.01, decoupled=True, eps=1e-6),
            _adam_call(((5,), (2, 3)), weight_decay=0.1, amsgrad=True),
            *_large_calls(_LR, Typed((), "int64"), groups=4, **_ADAM_W),
        ],
    )
)
