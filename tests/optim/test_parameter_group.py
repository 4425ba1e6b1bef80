"""Groups and the batches of parameters that one op updates."""

from __future__ import annotations

import numpy as np

import dtrain as dt
from dtrain.optim.parameter_group import ParameterGroup, scalar_beside, zeros_beside


def make_group(*params: dt.Parameter, num_steps=None) -> ParameterGroup:
    group = ParameterGroup({"params": list(params), "lr": 0.5, "momentum": 0.9})
    group.make_batches({param: {"buffer": zeros_beside(param)} for param in params}, num_steps or {})
    return group


def param(dtype: str = "f32") -> dt.Parameter:
    return dt.Parameter(dt.ones((2,), dtype=dtype))


def test_batches_have_one_dtype_and_step_count():
    a, b, c, d = param(), param("f64"), param(), param()
    group = make_group(a, b, c, d, num_steps={d: 4})
    assert [batch.parameters for batch in group.batches] == [[a, c], [b], [d]]
    assert [int(batch.step.item()) for batch in group.batches] == [0, 0, 4]
    assert [batch.lr.dtype.tag for batch in group.batches] == ["f32", "f64", "f32"]


def test_lr_is_written_into_the_cells_without_a_new_version():
    group = make_group(param(), param("f64"))
    version, cells = group.version, [batch.lr.array for batch in group.batches]
    group["lr"] = 0.125
    assert [float(cell) for cell in cells] == [0.125, 0.125] and group.version == version
    group["initial_lr"] = 1.0
    assert group.version == version
    group["momentum"] = 0.5
    assert group.version > version


def test_a_batch_splits_when_only_a_part_has_gradients():
    params = [param() for _ in range(4)]
    group = make_group(*params)
    buffers = {id(parameter): group.batches[0].states[0][i] for i, parameter in enumerate(params)}
    version = group.version
    group.split_batches()
    assert len(group.batches) == 1 and group.version == version
    for parameter in params[1:3]:
        parameter.grad = dt.ones((2,))
    group.batches[0].step.array[...] = 7
    group.split_batches()
    assert [batch.parameters for batch in group.batches] == [params[1:3], [params[0], params[3]]]
    assert group.version > version
    for batch in group.batches:
        assert batch.step.item() == 7 and float(batch.lr.item()) == 0.5
        assert [buffers[id(parameter)] for parameter in batch.parameters] == batch.states[0]


def test_scalars_and_zeros_lie_beside_the_parameter():
    parameter = param("bf16")
    assert zeros_beside(parameter).type is parameter.type and not zeros_beside(parameter).numpy().any()
    scalar = scalar_beside(parameter, 3, dt.int64)
    assert scalar.shape == () and scalar.array.dtype == np.int64 and scalar.item() == 3
