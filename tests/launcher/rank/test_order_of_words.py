"""In which order a supervisor says what it knows."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from dtrain.control.messages import Exited, Hello, Output, Ready, Start
from dtrain.control.verdict import Failure
from dtrain.control.wire import FrameReader, encode
from dtrain.launcher.rank import rank_main


def test_an_end_by_a_signal_is_told_before_what_is_left_of_the_output(tmp_path):
    """What started the ranks may be about to kill all of them for it, supervisors too."""
    script = tmp_path / "script.py"
    script.write_text("import os\nprint('x' * 5000, flush=True)\nos.kill(os.getpid(), 9)\n")
    heard, reader = [], FrameReader()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        place = {"DTRAIN_RANK": "0", "DTRAIN_WORLD_SIZE": "1", "DTRAIN_JOB_TOKEN": "t"}
        address = {"DTRAIN_CONTROL_ADDRESS": f"127.0.0.1:{listener.getsockname()[1]}"}
        process = subprocess.Popen([sys.executable, rank_main.__file__, str(script)], env=os.environ | place | address)
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(20)
            # Without credit all of the output stays in its pipe until the rank has ended.
            connection.sendall(encode(Start(environment={}, has_input=False, credit=0, grace=1.0)))
            while not any(isinstance(message, Exited) for message in heard):
                data = connection.recv(1 << 16)
                assert data, heard
                heard += [received.message for received in reader.feed(data)]
        assert process.wait(timeout=20) == 137
    said = [message for message in heard if isinstance(message, (Failure, Output, Exited))]
    assert [type(message) for message in heard[:2]] == [Hello, Ready]
    assert isinstance(said[0], Failure) and (said[0].signal, said[0].exit_code) == (9, 137)
    assert isinstance(said[1], Output) and isinstance(said[-1], Exited)
