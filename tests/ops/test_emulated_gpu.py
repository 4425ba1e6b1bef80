"""Every op on an emulated GPU: arrays of the strict stand-in for CuPy, eager, traced and backward, against the CPU.

It catches what does not need a GPU to be wrong: NumPy functions or arrays where CuPy's are needed, outputs on another
device than their inputs, 0-d scalars, copies. Numbers of a real GPU are the business of tests/gpu.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers import on_device
from helpers.cuda_emulation import emulated_module
from helpers.cuda_emulation.emulated_cupy import emulated_cuda
from helpers.op_calls import case_id

from dtrain.graph.op import Op

pytestmark = pytest.mark.emulation

# Not the GPU that is current: an array that lands there by accident is found.
DEVICE = "cuda:1"


@pytest.fixture(scope="module", autouse=True)
def _emulated() -> Iterator[None]:
    if emulated_module.COMPILER is None:
        pytest.skip("no host C++ compiler to run the CUDA sources with")
    with emulated_cuda():
        yield


@pytest.mark.parametrize("op", on_device.covered_ops(), ids=case_id)
def test_outputs_are_those_of_the_cpu(op: Op) -> None:
    for number in on_device.numbers_of(op):
        for dtype in op.dtypes:
            on_device.check_outputs(op, number, dtype, DEVICE)


@pytest.mark.parametrize("op", on_device.covered_ops(lambda op: not op.is_dynamic), ids=case_id)
def test_traced_is_eager(op: Op) -> None:
    for number in on_device.numbers_of(op):
        on_device.check_traced(op, number, op.dtypes[0], DEVICE)


@pytest.mark.parametrize("op", on_device.covered_ops(on_device.has_gradient), ids=case_id)
def test_gradients_are_those_of_the_cpu(op: Op) -> None:
    for number in on_device.numbers_of(op, with_gradient=True):
        on_device.check_gradients(op, number, DEVICE)
