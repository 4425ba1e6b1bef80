"""The ops behind random numbers: what they refuse, and that the new state replaces the old in place."""

from __future__ import annotations

import numpy as np
import pytest

from dtrain.base.device import CPU
from dtrain.base.dtype import float32
from dtrain.core.apply import update
from dtrain.core.tensor import wrap
from dtrain.graph.op import get_op

FACTS = {"shape": (6,), "dtype": float32, "device": CPU}


@pytest.mark.parametrize(("count", "blocks"), [(0, 0), (1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_a_draw_uses_up_whole_blocks_of_four_words(count, blocks):
    state = wrap(np.array([3, 10], np.int64))
    update(get_op("uniform"), state, **{**FACTS, "shape": (count,)}, low=0.0, high=1.0)
    assert state.tolist() == [3, 10 + blocks]


def test_draws_follow_each_other_without_gaps():
    together, apart = (wrap(np.array([3, 0], np.int64)) for _ in range(2))
    draw = get_op("uniform")
    whole = update(draw, together, **{**FACTS, "shape": (8,)}, low=0.0, high=1.0)[0].numpy()
    halves = [update(draw, apart, **{**FACTS, "shape": (4,)}, low=0.0, high=1.0)[0].numpy() for _ in range(2)]
    np.testing.assert_array_equal(whole, np.concatenate(halves))


def test_offsets_and_keys_beyond_32_bits_count():
    draw = get_op("uniform")
    seen = set()
    for key, offset in ((0, 0), (0, 2**32), (2**32, 0), (-1, 0), (0, 2**40)):
        state = wrap(np.array([key, offset], np.int64))
        seen.add(update(draw, state, **FACTS, low=0.0, high=1.0)[0].numpy().tobytes())
    assert len(seen) == 5


def test_a_state_of_another_type_is_refused():
    with pytest.raises(ValueError, match=r"normal: expected a generator state s64\[2\], got s32\[2\]@cpu"):
        update(get_op("normal"), wrap(np.zeros(2, np.int32)), **FACTS, mean=0.0, std=1.0)
