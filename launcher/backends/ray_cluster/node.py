"""What runs on a Ray node: an actor that starts a command in its reserved bundle and waits for it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence

from dtrain.control.exit_codes import code_of_status


class NodeRunner:
    """Made a Ray actor by `ray_launcher`. Commands are sessions of their own, so that a signal reaches all of each."""

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []

    def place(self) -> tuple[str, list[str]]:
        """This node's address and the GPUs Ray reserved here."""
        import ray

        return ray.util.get_node_ip_address(), [str(number) for number in ray.get_gpu_ids()]

    def run(
        self, argv: Sequence[str], environment: Mapping[str, str], folder: str, devices: Sequence[str]
    ) -> tuple[int, str]:
        """Run to the end; returns the exit code and what the command itself wrote."""
        env = dict(os.environ) | dict(environment)
        if devices:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
        try:
            process = subprocess.Popen(
                list(argv),
                env=env,
                cwd=folder if os.path.isdir(folder) else None,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            return 127, f"cannot run {argv[0]}: {error}\n"
        self._processes.append(process)
        written, _ = process.communicate()
        return code_of_status(process.returncode), written.decode(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal to all that runs here."""
        for process in self._processes:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.Signals(number))
