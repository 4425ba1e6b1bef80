"""What ops along an axis give that choose elements: the elements, and where they were."""

from __future__ import annotations

from typing import NamedTuple

from dtrain.core.tensor import Tensor


class ValuesAndIndices(NamedTuple):
    """A pair that unpacks: `values, indices = x.max(1)`, or `x.max(1).indices`."""

    values: Tensor
    indices: Tensor  # s64, positions along the axis
