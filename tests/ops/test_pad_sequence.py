"""Sequences of different lengths as one tensor, with gradients; dropout of whole channels."""

from __future__ import annotations

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import nn
from dtrain.base.errors import ShapeError


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_padding_and_its_gradient(batch_first: bool, side: str) -> None:
    parts = [dt.ones(length, 2, requires_grad=True) for length in (3, 1, 2)]
    padded = F.pad_sequence(parts, batch_first, padding_value=-1.0, padding_side=side)
    wanted = np.full((3, 3, 2), -1, np.float32)
    for number, length in enumerate((3, 1, 2)):
        wanted[number, slice(length) if side == "right" else slice(3 - length, 3)] = 1
    np.testing.assert_array_equal(padded.numpy(), wanted if batch_first else wanted.swapaxes(0, 1))
    (2 * padded).sum().backward()
    assert all(np.array_equal(part.grad.numpy(), np.full(part.shape, 2)) for part in parts)


def test_what_differs_in_more_than_length_is_refused() -> None:
    for parts in ([], [dt.zeros(2, 3), dt.zeros(2, 4)], [dt.zeros(())]):
        with pytest.raises(ShapeError, match="differ in length only"):
            F.pad_sequence(parts)


def test_channels_drop_as_a_whole() -> None:
    dt.manual_seed(0)
    layer = nn.Dropout2d(0.5)
    for shape in ((4, 16, 3, 3), (16, 3, 3)):
        y = layer(dt.ones(*shape)).numpy().reshape(-1, 9)
        assert set(np.unique(y)) == {0.0, 2.0} and (y == y[:, :1]).all()
    x = dt.ones(2, 3, 4, 4)
    assert layer.eval()(x) is x
    with pytest.raises(ShapeError, match="N, C, H, W"):
        F.dropout2d(dt.ones(2, 3))
