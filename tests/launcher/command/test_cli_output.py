"""Where the command's own words go: terminals of ASCII, pipes that nobody reads, full devices."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMMANDS = (
    ["--help"],
    ["run", "--help"],
    ["run", "--plan-only", "-np", "1", __file__],
    ["bench"],
    ["doctor", "--help"],
)


def start(arguments, **options):
    command = [sys.executable, "-m", "dtrain.cli", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, timeout=60, **options)


@pytest.mark.parametrize("arguments", [COMMANDS[0], COMMANDS[2]], ids=lambda words: words[0])
def test_ascii(arguments):
    env = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = start(arguments, env=env, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii() and done.stdout


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda words: " ".join(words[:2]))
def test_a_pipe_that_nobody_reads(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    done = start(arguments, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_device():
    with open("/dev/full", "w") as full:
        done = start(["--help"], stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"dtrain: cannot write: No space left on device\n")
