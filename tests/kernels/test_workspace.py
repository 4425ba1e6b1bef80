"""Scratch memory: what a candidate asks for is what its call uses, and no more."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.kernel_cases import CASES, call

from dtrain.base.alignment import ALIGNMENT
from dtrain.base.dtype import from_numpy
from dtrain.base.tensor_type import tensor_type
from dtrain.kernels import Problem, candidates
from dtrain.kernels.workspace import Workspace

F32 = np.dtype(np.float32)


def planned(nbytes: int) -> np.ndarray:
    """As a memory plan places it: aligned, and followed by bytes that are another's."""
    raw = np.full(nbytes + 2 * ALIGNMENT, 7, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + nbytes]


@pytest.mark.parametrize("op", ["conv2d", "conv2d_backward_data", "conv2d_backward_weights"])
def test_a_planned_workspace_gives_the_same_bits(op: str) -> None:
    uses = 0
    for case in CASES[op]():
        inputs = case.cast_inputs(F32)
        outputs = case.empty_outputs(F32)
        types = [[tensor_type(a.shape, from_numpy(a.dtype)) for a in arrays] for arrays in (inputs, outputs)]
        problem = Problem(op, types[0], types[1], case.attrs)
        for candidate in candidates(problem):
            nbytes = candidate.workspace_nbytes(problem)
            if nbytes == 0:
                continue
            uses += 1
            own, given = case.empty_outputs(F32), case.empty_outputs(F32)
            call(candidate.function, inputs, own, case.attrs)
            candidate.bind(inputs, given[0], dict(case.attrs), planned(nbytes))()
            assert own[0].tobytes() == given[0].tobytes(), (case.label, candidate.name)
            with pytest.raises(ValueError, match="workspace: expected at least"):
                candidate.bind(inputs, given[0], dict(case.attrs), planned(nbytes - ALIGNMENT))()
    if len(candidates(problem)) > 1:
        assert uses > 10


def test_pieces_do_not_overlap_and_are_aligned() -> None:
    cut = Workspace(planned(3 * ALIGNMENT))
    first, second = cut.take("a", (5, 3), np.float32), cut.take("b", (2,), np.float64)
    assert not np.shares_memory(first, second)
    assert second.ctypes.data % ALIGNMENT == 0 and second.ctypes.data - first.ctypes.data == ALIGNMENT
    assert np.shares_memory(cut.take("a", (2,), np.float32), first)
    with pytest.raises(ValueError, match="workspace: expected at least 256 bytes, got 192: plan what"):
        cut.take("c", (16,), np.float64)
