"""Python objects as arrays of bytes, for the `_object` forms of collectives: small facts, not the step.

Pickle runs code of whoever wrote it: these bytes only ever come from ranks of one's own job.
"""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np

from dtrain.collectives.programs.rank_order import Array


def to_bytes(value: Any) -> Array:
    """`value`, pickled, as a read-only array of u8."""
    return np.frombuffer(pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL), np.uint8)


def from_bytes(data: Array) -> Any:
    """The object that `to_bytes` was given."""
    return pickle.loads(data.tobytes())


def padded(data: Array, nbytes: int) -> Array:
    """`data`, filled up with zeros to `nbytes`."""
    result = np.zeros(nbytes, np.uint8)
    result[: data.size] = data
    return result
