"""Every op on a GPU against the CPU: all calls in every dtype, traced, and backward."""

from __future__ import annotations

import pytest
from helpers import on_device
from helpers.op_calls import case_id

from dtrain.graph.op import Op

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("op", on_device.covered_ops(), ids=case_id)
def test_outputs_are_those_of_the_cpu(op: Op, gpu: str) -> None:
    for number in on_device.numbers_of(op):
        for dtype in op.dtypes:
            on_device.check_outputs(op, number, dtype, gpu)


@pytest.mark.parametrize("op", on_device.covered_ops(lambda op: not op.is_dynamic), ids=case_id)
def test_traced_is_eager(op: Op, gpu: str) -> None:
    for number in on_device.numbers_of(op):
        on_device.check_traced(op, number, op.dtypes[0], gpu)


@pytest.mark.parametrize("op", on_device.covered_ops(on_device.has_gradient), ids=case_id)
def test_gradients_are_those_of_the_cpu(op: Op, gpu: str) -> None:
    for number in on_device.numbers_of(op, with_gradient=True):
        on_device.check_gradients(op, number, gpu)
