"""Whoever sends a supervisor, or the launcher, what is no message ends the job with a word: nobody crashes or hangs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from dtrain.control.messages import Hello, Ready
from dtrain.control.wire import FrameReader
from dtrain.launcher.rank import rank_main


def _messages_of(connection, count):
    reader, heard = FrameReader(), []
    while len(heard) < count:
        data = connection.recv(1 << 16)
        assert data, "it has left"
        heard += [received.message for received in reader.feed(data)]
    return heard


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b'{"type":"letter"}\n', "expected one of the kinds"),
        (b'{"type":"stop","number":15}\n', "stop: expected the field grace, got none"),
        (b'{"type":"credit","nbytes":"many"}\n', "credit, nbytes: expected a whole number, got 'many'"),
        (b"\xff\n", "expected a line of JSON in UTF-8"),
    ],
)
def test_a_supervisor_ends_its_rank(tmp_path, sent, words):
    script = tmp_path / "script.py"
    script.write_text("import time\ntime.sleep(60)\n")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        listener.settimeout(20)
        place = {"DTRAIN_RANK": "0", "DTRAIN_WORLD_SIZE": "1"}
        env = {**os.environ, **place, "DTRAIN_CONTROL_ADDRESS": address, "DTRAIN_JOB_TOKEN": "t"}
        process = subprocess.Popen(
            [sys.executable, rank_main.__file__, str(script)], env=env, stderr=subprocess.PIPE, text=True
        )
        connection, _ = listener.accept()
        with connection:
            hello, ready = _messages_of(connection, 2)
            assert isinstance(hello, Hello) and isinstance(ready, Ready)
            connection.sendall(sent)
            _, told = process.communicate(timeout=20)
    assert words in told and "Traceback" not in told
    assert process.returncode != 0
    assert not os.path.exists(f"/proc/{ready.child_pid}")


def test_the_launcher_says_who_it_was(run):
    script = run.script(
        "import os, socket, time\nfrom dtrain.control.connection import parse_address\n"
        "from dtrain.control.messages import Hello\nfrom dtrain.control.wire import encode\n"
        "token = os.environ['DTRAIN_JOB_TOKEN']\n"
        "hello = Hello(token=token, role='rank', rank=0, size=1, host='h', pid=os.getpid())\n"
        "connection = socket.create_connection(parse_address(os.environ['DTRAIN_CONTROL_ADDRESS']))\n"
        'connection.sendall(encode(hello) + b\'{"type":"letter"}\\n\')\ntime.sleep(60)\n'
    )
    ended = run("--quiet", script)
    assert ended.code == 125
    assert "  rank of rank 0 (host h, pid " in ended.err
    assert "control message: expected one of the kinds hello, " in ended.err and "got 'letter'" in ended.err
