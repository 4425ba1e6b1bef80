"""Whether what an operator gives shares memory with what it was given, as PyTorch's does: seen by writing into it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dtrain[peers]'")
pytest.importorskip("expecttest", reason="expecttest is not installed: pip install 'dtrain[peers]'")

import torch

import dtrain as dt
from peers.exchange import array_of, leaves_of, map_structure, quietly, to_ours
from peers.operators import ours_of
from peers.samples import chosen

op_db = quietly(__import__, "torch.testing._internal.common_methods_invocations", fromlist=["op_db"]).op_db
# Methods that write tell nothing of their results.
OURS = [info for info in op_db if not info.name.endswith("_") and ours_of(info.name) is not None]
DTYPES = (torch.float64, torch.int64)
WRITTEN = -987654
# Their copies are in another memory format, which no tensor has here.
OTHER_MEMORY = ("memory_format",)

pytestmark = pytest.mark.peers


@pytest.mark.parametrize("info", OURS, ids=lambda info: "-".join(filter(None, (info.name, info.variant_test_name))))
def test_results_share_memory_where_theirs_do(info: Any) -> None:
    ours, found = ours_of(info.name), []
    for dtype in set(DTYPES) & set(quietly(info.supported_dtypes, "cpu")):
        for sample in chosen(f"{info.name} {dtype}", quietly(info.sample_inputs, "cpu", dtype), 8):
            given = (sample.input, *sample.args), dict(sample.kwargs)
            if all(word not in given[1] for word in OTHER_MEMORY):
                found += differences(info.op, ours, given)
    assert not found, "\n".join(found[:6])


def differences(theirs: Any, ours: Any, given: Any) -> list[str]:
    """What PyTorch's inputs show of a write into its results and ours do not, or the other way round."""
    try:
        given, mine = in_order(given), to_ours(in_order(given))
        results = quietly(theirs, *given[0], **given[1]), ours(*mine[0], **mine[1])
    except Exception:
        return []  # test_operators.py says which are refused
    for result in (*leaves_of(results[0], torch.Tensor), *leaves_of(results[1], dt.Tensor)):
        try:
            result.mul_(0).add_(WRITTEN)
        except RuntimeError:
            pass  # repeated elements: both refuse
        except Exception:
            return []  # truth, and numbers that hold no such number
    pairs = zip(leaves_of(given, torch.Tensor), leaves_of(mine, dt.Tensor))
    shown = [(array_of(a) == WRITTEN, np.asarray(b.numpy()) == WRITTEN) for a, b in pairs]
    shapes = [list(tensor.shape) for tensor in leaves_of(given, torch.Tensor)]
    return [
        f"of {shapes} {given[1]}: {int(b.sum())} elements of input {place} are written, theirs {int(a.sum())}"
        for place, (a, b) in enumerate(shown)
        if not np.array_equal(a, b)
    ]


def in_order(given: Any) -> Any:
    """The same arguments, in memory of their own in the order of their axes, as ours are."""

    def copied(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and value.layout is torch.strided:
            return value.detach().clone(memory_format=torch.contiguous_format)
        return map_structure(copied, value)

    return copied(given)
