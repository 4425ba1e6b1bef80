"""Objects as bytes."""

from __future__ import annotations

import numpy as np

from dtrain.collectives.communicator.objects import from_bytes, padded, to_bytes


def test_objects_come_back() -> None:
    value = {"shape": (3, 4), "array": np.arange(5).tolist(), "nothing": None}
    data = to_bytes(value)
    assert data.dtype == np.uint8 and from_bytes(data) == value
    longer = padded(data, data.size + 100)
    assert longer.size == data.size + 100 and not longer[data.size :].any()
    assert from_bytes(longer[: data.size]) == value
