"""A world in which every collective returns at once without exchanging anything.

The step benchmark runs the very same graph in it to find what computation alone costs.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from dtrain.base.dtype import DType
from dtrain.base.errors import CollectiveError
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.communicator.group_calls import ordinary_memory
from dtrain.collectives.programs.program import Program
from dtrain.collectives.programs.rank_order import Array
from dtrain.collectives.transports.membership import Membership


class SilentCommunicator(Communicator):
    """Has the rank and size of another communicator; results have the right shape and this rank's own values."""

    name = "silent"

    def __init__(self, other: Communicator) -> None:
        super().__init__(other.rank, other.size, other.world_ranks, other.timeout)

    @classmethod
    def detect(cls, group: Membership) -> str:
        return ""  # whoever wants it asks for it

    @classmethod
    def join(cls, group: Membership) -> SilentCommunicator:
        assert group.beside is not None
        return cls(group.beside)

    def abort(self, code: int = 1) -> NoReturn:
        raise SystemExit(code)

    def _program(self, kind: str, nbytes: int, root: int = 0) -> Program:
        return Program("none", self.rank, self.size, ())

    def _carry(
        self, kind: str, call_text: str, sources: list[Array], outs: list[Array], op: Any = None, root: int = 0
    ) -> None:
        for source, out in zip(sources, outs, strict=True):
            if kind == "all_gather":
                out.reshape(self.size, -1)[...] = source.reshape(1, -1)
            elif source is not out and not np.may_share_memory(source, out):
                np.copyto(out, source[: out.size])

    def _barrier(self, text: str) -> None:
        pass

    def _send(self, array: Array, destination: int, tag: int) -> None:
        raise CollectiveError("send: expected a communicator that exchanges data, got the silent one of the benchmark")

    def _recv(self, source: int, tag: int, shape: tuple[int, ...] | None, dtype: DType | None) -> Array:
        raise CollectiveError("recv: expected a communicator that exchanges data, got the silent one of the benchmark")

    def _split(self, groups: list[list[int]]) -> Communicator | None:
        return None

    def _allocate(self, text: str, nbytes: int) -> Array:
        return ordinary_memory(nbytes)
