"""Standard input of a job where it arrives: pieces that `job/standard_input.py` has read go into rank 0's pipe.

An empty piece is the end.
"""

from __future__ import annotations

import os
import selectors

from dtrain.control.client import ControlClient
from dtrain.control.messages import InputTaken


class RankInput:
    """In the supervisor of rank 0: what the rank has not read yet waits here, one piece at most."""

    def __init__(self, descriptor: int, selector: selectors.BaseSelector, client: ControlClient) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._selector = selector
        self._client = client
        self._waiting = b""
        self._is_open = True

    def take(self, data: bytes) -> None:
        """A piece from the launcher, the empty one at the end."""
        if not self._is_open:
            return
        if not data:
            self._close()
            return
        self._waiting += data
        self._selector.register(self._descriptor, selectors.EVENT_WRITE)

    def write(self) -> None:
        """The pipe takes bytes again; ask for the next piece when this one is in it."""
        try:
            written = os.write(self._descriptor, self._waiting)
        except BlockingIOError:
            return
        except OSError:
            self._selector.unregister(self._descriptor)
            self._close()  # the rank has closed its end: the rest is for nobody
            return
        self._waiting = self._waiting[written:]
        if not self._waiting:
            self._selector.unregister(self._descriptor)
            self._client.send(InputTaken())

    def _close(self) -> None:
        self._is_open = False
        os.close(self._descriptor)
