"""Standard input of the launcher is rank 0's: all bytes, and their end; the other ranks have nothing to read."""

from __future__ import annotations

import os
import pty
import select
import selectors
import subprocess
import sys
import time

import pytest

from dtrain.control.messages import InputTaken
from dtrain.launcher.job.standard_input import PIECE
from dtrain.launcher.rank.rank_input import RankInput

READ = "import os, sys\ndata = sys.stdin.buffer.read()\nprint(os.environ['RANK'], len(data), data[-9:])\n"


@pytest.mark.parametrize("launcher", ["local", pytest.param("mpirun", marks=pytest.mark.distributed)])
def test_bytes_and_their_end(run, launcher):
    data = b"x\n\xff\0" * 200_000 + b"\r\nthe end"
    (run.folder / "data").write_bytes(data)
    with open(run.folder / "data") as stream:
        ended = run("--launcher", launcher, "-np", "2", "--quiet", "--timeout", "20", run.script(READ), stdin=stream)
    assert ended.code == 0
    assert sorted(ended.out.splitlines()) == [f"[0] 0 {len(data)} {data[-9:]!r}", "[1] 1 0 b''"]


@pytest.mark.distributed
def test_an_empty_input_and_one_that_stays_open(run):
    script = run.script(READ)
    assert "[0] 0 0 b''" in run("--launcher", "mpirun", "-np", "2", "--quiet", "--timeout", "20", script).out
    process = run.start(
        "--launcher", "mpirun", "-np", "2", "--quiet", run.script("print('done')\n"), stdin=subprocess.PIPE
    )
    assert process.wait(timeout=30) == 0, "nobody waits for an input that nobody reads"


def test_a_terminal(run):
    """A question is answered from the terminal of the launcher, and Ctrl-D ends the input."""
    script = run.script("print('hello', input('name? '))\nimport sys\nprint(repr(sys.stdin.read()))\n")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dtrain.cli", "run", "--quiet", script],
        cwd=run.folder,
        env=run.env,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(theirs), os.O_RDWR)),  # becomes the controlling terminal
    )
    run.processes.append(process)
    os.close(theirs)
    seen = b""
    for awaited, typed in ((b"name? ", b"rank\n"), (b"hello rank", b"more\n\x04"), (b"'more\\n'", b"")):
        until = time.monotonic() + 20
        while awaited not in seen:
            assert time.monotonic() < until, seen
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 1000)
        os.write(ours, typed)
    assert process.wait(timeout=20) == 0
    os.close(ours)


class Client:
    def __init__(self):
        self.sent = []

    def send(self, message):
        self.sent.append(type(message))


def test_a_rank_that_reads_slowly_or_closes_its_end():
    read, write = os.pipe()
    client, selector = Client(), selectors.DefaultSelector()
    given = RankInput(write, selector, client)
    given.take(b"y" * PIECE)
    given.write()
    assert client.sent == [InputTaken], "a pipe holds a piece"
    given.take(b"z" * PIECE)
    given.write()
    assert client.sent == [InputTaken], "no more is asked for before this one is in the pipe"
    os.close(read)
    given.write()
    given.take(b"for nobody")
    given.take(b"")
    assert client.sent == [InputTaken]
    assert not selector.get_map()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(write)


IN_THE_BACKGROUND = """
import os, sys
from dtrain.launcher.job.standard_input import _is_ours
def in_a_group_of_its_own():
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os._exit(_is_ours(0))
    return bool(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(_is_ours(0), in_a_group_of_its_own(), file=sys.stderr)
"""


def test_a_terminal_is_read_in_the_foreground_only():
    """Whoever reads it elsewhere would be stopped."""
    ours, theirs = pty.openpty()
    ended = subprocess.run(
        [sys.executable, "-c", IN_THE_BACKGROUND],
        stdin=theirs,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(theirs), os.O_RDWR)),  # becomes the controlling terminal
    )
    os.close(ours)
    os.close(theirs)
    assert ended.stderr.split() == ["True", "False"]
