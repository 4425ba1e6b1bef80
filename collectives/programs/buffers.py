"""Steps of a program carried out on arrays in the plainest way: what transports of messages use, and virtual clocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dtrain.collectives.memory.packed import Packed
from dtrain.collectives.programs.program import CALLERS, OWN, Copy, Program, Reduce, Slice
from dtrain.collectives.programs.rank_order import Array, Reduction, reduce_in_rank_order


class Buffers:
    """The buffers of one rank for one call: the caller's arrays, stages, and scratch.

    Attributes:
        source, out: the caller's arrays.
        dtype: of their elements.
        op: the reduction; for a weighted one the coefficients, once all ranks have shown their weights.
    """

    def __init__(
        self, program: Program, source: Packed, out: Packed, dtype: np.dtype[Any], op: Reduction = "sum"
    ) -> None:
        self.source = source
        self.out = out
        self.dtype = dtype
        self.op = op
        self._rank = program.rank
        self._everyone: Mapping[int, Buffers] = {}
        # Zeros, because padding between arrays is sent too, and nobody should read what memory held before.
        stages = {f"stage{half}": program.stage_bytes for half in (0, 1)}
        self._memory = {name: np.zeros(nbytes, np.uint8) for name, nbytes in {**stages, **program.scratch}.items()}

    def share(self, everyone: Mapping[int, Buffers]) -> None:
        """Let steps reach other ranks' buffers, as in memory that ranks share."""
        self._everyone = everyone

    def view(self, data: Slice) -> Array:
        """The bytes of a slice where they lie; of the caller's buffers only where these are one array."""
        if data.rank not in (OWN, self._rank):
            return self._everyone[data.rank].view(data._replace(rank=OWN))
        if data.buffer in CALLERS:
            message = self.source if data.buffer == "source" else self.out
            assert message.single is not None, "several arrays have no view as one"
            return message.single[data.start : data.stop]
        return self._memory[data.buffer][data.start : data.stop]

    def read(self, data: Slice) -> Array:
        """The bytes of a slice, copied together where they are spread over several arrays."""
        if data.buffer in CALLERS and self._message(data).only is None:
            copy = np.zeros(data.nbytes, np.uint8)
            self._message(data).read(data.start, copy)
            return copy
        return self.view(data)

    def write(self, data: Slice, content: Array) -> None:
        """Put `content` into a slice."""
        if data.buffer in CALLERS:
            self._message(data).write(data.start, content)
        else:
            self.view(data)[...] = content

    def _message(self, data: Slice) -> Packed:
        owner = self if data.rank in (OWN, self._rank) else self._everyone[data.rank]
        return owner.source if data.buffer == "source" else owner.out

    def copy(self, step: Copy) -> None:
        if step.source.buffer in CALLERS and step.target.buffer not in CALLERS:
            self._message(step.source).read(step.source.start, self.view(step.target))
        else:
            self.write(step.target, self.read(step.source))

    def reduce(self, step: Reduce) -> None:
        if not step.parts[0].nbytes:
            return
        parts = [self.read(part).view(self.dtype) for part in step.parts]
        if all(target.buffer not in CALLERS or self._message(target).only is not None for target in step.targets):
            reduce_in_rank_order(parts, self.op, *(self.view(target).view(self.dtype) for target in step.targets))
            return
        result = np.empty(step.parts[0].nbytes, np.uint8)
        reduce_in_rank_order(parts, self.op, result.view(self.dtype))
        for target in step.targets:
            self.write(target, result)
