"""What `dtrain doctor` asks of the system: room for shared memory, descriptors, a folder for files, the loopback."""

from __future__ import annotations

import os
import resource
import socket
import tempfile

SHARED_MEMORY = "/dev/shm"
MEBI = 1 << 20
LEAST_SHARED_MIB = 16  # two ranks of MPI and their mailboxes; buckets of gradients come on top
LEAST_FILES = 128


def shared_memory(path: str = SHARED_MEMORY) -> tuple[bool, str]:
    """Whether ranks of this host can share memory, and words."""
    try:
        status = os.statvfs(path)
    except OSError as error:
        return False, f"{path}: {error.strerror}; mount a tmpfs there"
    free = status.f_bavail * status.f_frsize // MEBI
    if free < LEAST_SHARED_MIB:
        return (
            False,
            f"{free} MiB free in {path}; give it more: docker run --shm-size=1g, or mount -o remount,size=1g {path}",
        )
    return True, f"{free} MiB free in {path}"


def open_files() -> tuple[bool, str]:
    """Whether the limit on descriptors lets a launcher and its ranks run."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < LEAST_FILES:
        return False, f"at most {soft}; raise it: ulimit -n {min(max(hard, LEAST_FILES), 1024)}"
    return True, f"at most {soft}"


def temporary_folder() -> tuple[bool, str]:
    """Whether MPI can keep its session files where TMPDIR says. Python would quietly take another folder."""
    path = os.environ.get("TMPDIR") or tempfile.gettempdir()
    try:
        with tempfile.TemporaryFile(dir=path):
            return True, path
    except OSError as error:
        return False, f"{path}: {error.strerror}; set TMPDIR to a folder that can be written"


def loopback() -> tuple[bool, str]:
    """Whether processes of this host reach each other at 127.0.0.1, where the launcher listens."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=2.0).close()
    except OSError as error:
        return False, f"127.0.0.1: {error.strerror or error}; bring it up: ip link set lo up"
    return True, "127.0.0.1 answers"
