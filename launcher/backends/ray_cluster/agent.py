"""What mpirun calls in place of ssh under Ray: `agent.py HOST COMMAND…`, with the command meant for HOST's shell.

It hands the command to the launcher, which runs it (MPI's daemon) inside a Ray actor on that node, and stays until told
that it ended, as ssh would. It speaks the control channel and so needs no Ray itself.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence

from dtrain.base.rank_info import RankInfo
from dtrain.control.client import ControlClient
from dtrain.control.exit_codes import CONNECTION_LOST
from dtrain.control.messages import Ended, Message, Spawn

AGENT_ADDRESS_VARIABLE = "DTRAIN_RAY_AGENT_ADDRESS"
AGENT_TOKEN_VARIABLE = "DTRAIN_RAY_AGENT_TOKEN"


def main(arguments: Sequence[str]) -> int:
    """Have the command run on the host and return its exit code."""
    host, *command = arguments
    ended = threading.Event()
    codes: list[int] = []

    def hear(message: Message) -> None:
        if isinstance(message, Ended):
            codes.append(message.code)
            ended.set()

    client = ControlClient(
        os.environ[AGENT_ADDRESS_VARIABLE],
        os.environ[AGENT_TOKEN_VARIABLE],
        info=RankInfo(host=host),
        role="agent",
        on_message=hear,
        on_lost=ended.set,
    )
    client.send(Spawn(host, " ".join(command)))
    ended.wait()
    client.close()
    return codes[0] if codes else CONNECTION_LOST


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
