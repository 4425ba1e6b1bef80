"""The rank's end of the control channel: what it sends, that it never waits, and what a verdict does to it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from dtrain.base.errors import LaunchError
from dtrain.base.rank_info import RankInfo
from dtrain.control import client as client_module
from dtrain.control.client import ControlClient, connect_control, control_client
from dtrain.control.connection import parse_address
from dtrain.control.messages import Hello, Joining, Spawn
from dtrain.control.server import ControlServer
from dtrain.control.verdict import Failure, Verdict

pytestmark = pytest.mark.alone


class Recorder:
    """Keeps what a server or client hears, and waits for it."""

    def __init__(self):
        self.items = []
        self._changed = threading.Condition()

    def __call__(self, *item):
        with self._changed:
            self.items.append(item if len(item) != 1 else item[0])
            self._changed.notify_all()

    def wait(self, count, timeout=5.0):
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.items) >= count, timeout), self.items
            return list(self.items)


def client_of(server, rank=0, size=2, token=None, **callbacks):
    return ControlClient(
        server.address,
        server.token if token is None else token,
        info=RankInfo(rank=rank, size=size, host=f"host{rank}"),
        **callbacks,
    )


def test_messages_arrive_in_order_after_hello():
    heard = Recorder()
    server = ControlServer(on_message=heard)
    client = client_of(server, rank=1)
    for i in range(50):
        client.send(Spawn(f"γ\n{i}", ""))
    messages = [message for _, message in heard.wait(51)]
    assert isinstance(messages[0], Hello)
    assert [message.host for message in messages[1:]] == [f"γ\n{i}" for i in range(50)]
    peer = heard.items[0][0]
    assert (peer.rank, peer.host, peer.pid) == (1, "host1", os.getpid())
    client.close()
    server.close()


def test_only_the_latest_progress_is_sent():
    heard = Recorder()
    server = ControlServer(on_message=heard)
    client = client_of(server)
    heard.wait(1)
    start = time.perf_counter()
    for step in range(10_000):
        client.progress(step, "all_reduce")
    cost = (time.perf_counter() - start) / 10_000
    deadline = time.monotonic() + 5
    while server.peers[0].collective_index != 9_999 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (server.peers[0].collective_index, server.peers[0].call_text) == (9_999, "all_reduce")
    assert len(heard.items) < 20
    assert cost < 1e-4
    client.close()
    server.close()


def test_failure_waits_until_the_server_has_it():
    heard = Recorder()
    server = ControlServer(on_message=heard, on_verdict=Recorder())
    client = client_of(server)
    try:
        raise KeyError("weight")
    except KeyError as error:
        assert client.failure(error)
    message = heard.items[-1][1]
    assert isinstance(message, Failure)
    assert (message.kind, message.rank, message.host) == ("KeyError", 0, "host0")
    assert 'raise KeyError("weight")' in message.traceback
    client.close()
    server.close()


def test_a_lost_server_is_noticed_and_never_raises():
    lost = Recorder()
    server = ControlServer()
    client = client_of(server, on_lost=lambda: lost(1))
    server.close()
    lost.wait(1)
    client.send(Joining())
    client.progress(3)
    client.send_schedule("world", 0, "a", "a")
    assert not client.request(Joining(), timeout=0.1)
    client.close()
    client.close()


def test_closing_oneself_is_not_a_loss():
    lost = Recorder()
    server = ControlServer()
    client = client_of(server, on_lost=lambda: lost(1))
    client.close()
    server.close()
    assert lost.items == []


def test_a_forked_child_lets_go_of_the_connection():
    left = Recorder()
    server = ControlServer(on_lost=left)
    code = """
import os, sys, time
from dtrain.control.client import ControlClient
from dtrain.base.rank_info import RankInfo
from dtrain.control.messages import Joining
client = ControlClient(sys.argv[1], sys.argv[2], info=RankInfo())
client.request(Joining(), timeout=5)
if os.fork() == 0:
    time.sleep(3)
os._exit(0)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, server.address, server.token], check=True, timeout=30)
    start = time.monotonic()  # the fork lives for three seconds more, and how long Python took to start says nothing
    left.wait(1, timeout=2.5)
    assert time.monotonic() - start < 3
    server.close()


def test_verdict_without_launcher_prints_and_exits():
    server = ControlServer()
    code = """
import sys, time
from dtrain.control.client import connect_control
from dtrain.base.rank_info import RankInfo
client = connect_control(sys.argv[1], sys.argv[2], info=RankInfo(rank=int(sys.argv[3]), size=2, host="here"))
client.send_schedule("world", 0, "digest" + sys.argv[3], "all_reduce f32[" + sys.argv[3] + "]")
time.sleep(30)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, server.address, server.token, str(rank)], stderr=subprocess.PIPE, text=True
        )
        for rank in range(2)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 120
        assert errors.count("dtrain: schedule mismatch: ranks 0 and 1 of group world") == 1
        assert "-all_reduce f32[0]" in errors
        assert "+all_reduce f32[1]" in errors
    server.close()


def test_verdict_callback_takes_the_place_of_leaving():
    heard = Recorder()
    server = ControlServer()
    client = client_of(server, on_verdict=heard)
    verdict = Verdict(kind="timeout", exit_code=124, ranks=(1,), text="too late\n")
    deadline = time.monotonic() + 5
    while not server.peers and time.monotonic() < deadline:
        time.sleep(0.01)
    server.declare(verdict)
    assert heard.wait(1) == [verdict]
    client.close()
    server.close()


def test_client_of_the_process(monkeypatch):
    server = ControlServer()
    assert control_client({}) is None
    env = {"DTRAIN_CONTROL_ADDRESS": server.address, "DTRAIN_JOB_TOKEN": server.token}
    client = control_client(env)
    assert client is not None
    assert control_client({}) is client
    with pytest.raises(LaunchError, match="expected one connection a process"):
        connect_control(server.address, server.token, info=RankInfo())
    client_module.forget_client(client)
    assert control_client({}) is None
    client.close()
    server.close()


@pytest.mark.parametrize("address", ["", "host", "host:", ":80", "host:x", "host:70000"])
def test_bad_address(address):
    with pytest.raises(LaunchError, match=r"expected an address such as 10\.0\.0\.1:29500, got"):
        parse_address(address)


def test_nobody_listens():
    server = ControlServer()
    server.close()
    with pytest.raises(LaunchError, match=r"expected a server at 127\.0\.0\.1:\d+, got .*refused"):
        client_of(server)


def test_a_server_of_another_language_is_lost_with_a_word(capfd):
    """What is no message of ours ends the connection, and nothing else."""
    lost = Recorder()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        client = ControlClient(address, "token", info=RankInfo(), on_lost=lambda: lost(1))
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b'{"type":"letter"}\n')
            lost.wait(1)
    client.send(Joining())
    client.close()
    told = capfd.readouterr().err
    assert f"dtrain: lost {address}, which talks another language: control message: expected one of the kinds" in told
