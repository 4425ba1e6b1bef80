"""The world of one: every collective is a copy, so that one script runs with and without a launcher."""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from typing import NoReturn

import numpy as np

from dtrain.base.dtype import DType
from dtrain.base.errors import CollectiveError, expected
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.communicator.group_calls import ordinary_memory
from dtrain.collectives.communicator.work import ClosedError
from dtrain.collectives.programs.program import Program, copy_of
from dtrain.collectives.programs.rank_order import Array, ReduceOp, reduce_in_rank_order
from dtrain.collectives.programs.weighing import Weighted
from dtrain.collectives.transports.membership import Membership


class SelfCommunicator(Communicator):
    """A group of one rank."""

    name = "self"
    is_for_one_process = False

    def __init__(self, world_ranks: tuple[int] | None = None, timeout: float | None = None) -> None:
        super().__init__(0, 1, world_ranks, timeout)
        self._sent: dict[int, deque[Array]] = defaultdict(deque)
        self._changed = threading.Condition()

    @classmethod
    def detect(cls, group: Membership) -> str:
        return "this process is alone" if len(group.ranks) == 1 else ""

    @classmethod
    def join(cls, group: Membership) -> SelfCommunicator | None:
        return cls(timeout=group.timeout) if group.ranks else None

    def close(self, reason: str = "has closed this communicator") -> None:
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        super().close(reason)

    def abort(self, code: int = 1) -> NoReturn:
        raise SystemExit(code)

    def _program(self, kind: str, nbytes: int, root: int = 0) -> Program:
        return copy_of(nbytes)

    def _carry(
        self,
        kind: str,
        call_text: str,
        sources: list[Array],
        outs: list[Array],
        op: ReduceOp | Weighted | None = None,
        root: int = 0,
    ) -> None:
        for source, out in zip(sources, outs, strict=True):
            if isinstance(op, Weighted):
                reduce_in_rank_order([source], op.coefficients([op.shown()]), out)
            else:
                np.copyto(out, source)

    def _barrier(self, call_text: str) -> None:
        pass

    def _send(self, array: Array, destination: int, tag: int) -> None:
        with self._changed:
            self._sent[tag].append(array.copy())
            self._changed.notify_all()

    def _recv(self, source: int, tag: int, shape: tuple[int, ...] | None, dtype: DType | None) -> Array:
        messages = self._sent[tag]
        # Where the main thread waits nobody is left to send; `recv_async` waits in a thread of its own.
        patience = 0.0 if threading.current_thread() is threading.main_thread() else self.timeout
        with self._changed:
            self._changed.wait_for(lambda: len(messages) > 0 or self._is_closing, patience)
            if messages:
                return messages.popleft()
        if self._is_closing:
            raise ClosedError(f"recv of group {self.group!r}: the communicator was closed while it waited")
        raise CollectiveError(
            expected(
                f"recv with tag {tag} in a world of one",
                "a message that this rank has sent to itself",
                "none",
                "send first, or start more ranks with `dtrain run -np 2`",
            )
        )

    def _split(self, groups: list[list[int]]) -> Communicator | None:
        return SelfCommunicator((self.world_ranks[0],)) if groups else None

    def _allocate(self, call_text: str, nbytes: int) -> Array:
        return ordinary_memory(nbytes)
