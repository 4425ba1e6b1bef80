"""The watching end: ports, strangers, agreement of schedules, and who left."""

from __future__ import annotations

import contextlib
import select
import socket
import subprocess
import sys
import threading
import time

import psutil
import pytest

from dtrain.base.errors import LaunchError
from dtrain.base.rank_info import RankInfo
from dtrain.control.agreement import RankSchedule, mismatch_verdict
from dtrain.control.client import ControlClient
from dtrain.control.connection import parse_address
from dtrain.control.messages import Hello, Joining
from dtrain.control.peer import MAX_HELLO_BYTES
from dtrain.control.server import ControlServer
from dtrain.control.wire import encode

pytestmark = pytest.mark.alone


def wait_until(condition, timeout=5.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


@pytest.fixture
def verdicts():
    return []


@pytest.fixture
def server(verdicts):
    server = ControlServer(on_verdict=verdicts.append)
    yield server
    server.close()


def client_of(server, rank):
    return ControlClient(server.address, server.token, info=RankInfo(rank=rank, size=3, host=f"host{rank}"))


def test_port_zero_is_free_and_the_same_port_twice_is_an_error(server):
    host, port = parse_address(server.address)
    assert port > 0
    with pytest.raises(LaunchError, match=f"expected to listen on {host}:{port}, got .*in use.*; choose another port"):
        ControlServer(host, port)
    other = ControlServer()
    assert other.address != server.address
    other.close()


def test_a_port_is_free_again_after_close():
    first = ControlServer()
    client = client_of(first, 0)
    first.close()
    client.close()
    second = ControlServer(*parse_address(first.address))
    assert second.address == first.address
    second.close()


def test_agreeing_posts_are_silent(server, verdicts):
    clients = [client_of(server, rank) for rank in range(3)]
    for client in clients:
        for position in range(5):
            client.send_schedule("world", position, f"d{position}", "text")
        assert client.request(Joining(), timeout=5)
    clients[0].send_schedule("pair", 0, "another group may differ", "text")
    assert clients[0].request(Joining(), timeout=5)
    assert verdicts == []
    for client in clients:
        client.close()


def test_mismatch_names_both_ranks_and_shows_both_sides(server, verdicts):
    clients = [client_of(server, rank) for rank in range(3)]
    common = "all_reduce sum f32[10] loss.py:3\n"
    for client, last in zip(clients, ("f32[64]", "f32[64]", "f64[64]")):
        client.send_schedule("world", 4, last, common + f"all_reduce sum {last} conv1.weight model.py:7\n")
        client.request(Joining(), timeout=5)
    wait_until(lambda: verdicts)
    [verdict] = verdicts
    assert (verdict.kind, verdict.exit_code, verdict.ranks) == ("mismatch", 120, (0, 2))
    assert "ranks 0 and 2 of group world run different collectives (schedule 4)" in verdict.text
    assert "First difference, in line 2:" in verdict.text
    assert "  rank 0: all_reduce sum f32[64] conv1.weight model.py:7" in verdict.text
    assert "  rank 2: all_reduce sum f64[64] conv1.weight model.py:7" in verdict.text
    assert "--- rank 0 on host0" in verdict.text
    assert "+++ rank 2 on host2" in verdict.text
    assert server.verdict is verdict
    for client in clients:
        client.close()


def test_the_first_verdict_counts(server, verdicts):
    clients = [client_of(server, rank) for rank in range(3)]
    for client in clients:
        for position in range(3):
            client.send_schedule("world", position, f"d{client.info.rank}", "text")
        client.request(Joining(), timeout=5)
    assert len(verdicts) == 1
    for client in clients:
        client.close()


def test_a_shorter_schedule_and_equal_texts_are_told():
    short = mismatch_verdict("world", 0, RankSchedule(1, "b", "x", "one\ntwo"), RankSchedule(0, "a", "y", "one"))
    assert "  rank 0: (nothing more)\n  rank 1: two" in short.text
    equal = mismatch_verdict("world", 0, RankSchedule(0, "a", "x", "one"), RankSchedule(1, "b", "y", "one"))
    assert "the texts are equal but the digests differ: x and y" in equal.text


def test_failure_reaches_the_others_without_a_launcher():
    server = ControlServer()
    heard = []
    survivor = ControlClient(server.address, server.token, info=RankInfo(rank=0, size=2), on_verdict=heard.append)
    failing = ControlClient(
        server.address, server.token, info=RankInfo(rank=1, size=2, host="b"), on_verdict=lambda _: heard.append("own")
    )
    wait_until(lambda: len(server.peers) == 2)
    assert failing.failure(ValueError("bad data"))
    wait_until(lambda: heard)
    assert "rank 1 (host b, pid" in heard[0].text
    assert "failed with ValueError: bad data" in heard[0].text
    assert heard == [heard[0]]
    for end in (survivor, failing, server):
        end.close()


@pytest.mark.parametrize(
    "line",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"[1]\n",
        b'{"type": "hello"}\n',
        b'{"type": "hello", "token": "wrong", "role": "rank", "rank": 0, "host": "h", "pid": 1}\n',
        b'{"type": "schedule", "group": "world", "position": 0, "digest": "a", "text": ""}\n',
        b"[" * 60_000 + b"\n",
        b"x" * (2 * MAX_HELLO_BYTES),
    ],
)
def test_strangers_are_shown_the_door(server, line):
    client = client_of(server, 0)
    wait_until(lambda: len(server.peers) == 1)
    with socket.create_connection(parse_address(server.address), timeout=5) as stranger:
        stranger.sendall(line)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(1) == b""
    assert client.request(Joining(), timeout=5)
    assert [peer.rank for peer in server.peers] == [0]
    client.close()


def test_one_of_ours_that_sends_what_is_no_message_is_shown_out_with_a_word():
    garbled, left = [], []
    server = ControlServer(
        on_garbled=lambda peer, error: garbled.append((peer.rank, str(error))),
        on_lost=lambda peer: left.append(peer.rank),
    )
    hello = Hello(token=server.token, role="supervisor", rank=2, size=3, host="h", pid=1)
    with socket.create_connection(parse_address(server.address), timeout=5) as connection:
        connection.sendall(encode(hello) + b'{"type":"ready","colour":"red"}\n')
        wait_until(lambda: left)
    assert left == [2]
    assert (
        garbled == [(2, garbled[0][1])] and "control message ready: expected no field but child_pid, " in garbled[0][1]
    )
    server.close()


def test_who_left_is_told():
    left = []
    server = ControlServer(on_lost=lambda peer: left.append(peer.rank))
    client = client_of(server, 2)
    wait_until(lambda: server.peers)
    client.close()
    wait_until(lambda: left)
    assert left == [2]
    assert server.peers == []
    server.close()


def test_strangers_hold_a_quarter_of_the_descriptors(monkeypatch):
    """The oldest of those who say nothing go, and one of the job comes in."""
    monkeypatch.setattr("dtrain.control.server.resource.getrlimit", lambda _: (64, 64))
    server = ControlServer()
    strangers = [socket.create_connection(parse_address(server.address), timeout=5) for _ in range(30)]
    client = client_of(server, 0)
    assert client.request(Joining(), timeout=5)
    gone = select.select(strangers, [], [], 0)[0]
    # Who comes in is one of the sixteen until its hello is read: at once, or at a later look, when one more has gone.
    assert gone in (strangers[:14], strangers[:15])
    assert select.select(strangers, [], [], 0.1)[0] == gone
    client.close()
    server.close()
    for stranger in strangers:
        stranger.close()


FEW_DESCRIPTORS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
from dtrain.control.server import ControlServer
server = ControlServer()
print(server.address, server.token, flush=True)
held = []
if sys.argv[2] == "all":
    try:
        while True: held.append(open("/dev/null"))
    except OSError:
        pass
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("held", ["none", "all"])
def test_strangers_at_a_low_descriptor_limit_are_refused_cheaply(held):
    """200 of them, who come again when they are shown out: those of the job come in; without any room nobody spins."""
    process = subprocess.Popen(
        [sys.executable, "-c", FEW_DESCRIPTORS, "48", held], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    address, token = process.stdout.readline().split()
    assert process.stdout.readline() == "ready\n"
    strangers = [socket.create_connection(parse_address(address), timeout=5) for _ in range(200)]
    end = threading.Event()

    def come_again():
        while not end.wait(0.02):
            for number, stranger in enumerate(strangers):
                if select.select([stranger], [], [], 0)[0]:
                    stranger.close()
                    strangers[number] = socket.create_connection(parse_address(address), timeout=5)

    crowd = threading.Thread(target=come_again)
    crowd.start()
    try:
        if held == "none":
            clients = [ControlClient(address, token, info=RankInfo(rank=rank, size=5, host="h")) for rank in range(5)]
            assert all(client.request(Joining(), timeout=10) for client in clients)
            for client in clients:
                client.close()
    finally:
        end.set()
        crowd.join()
    before = psutil.Process(process.pid).cpu_times().user
    time.sleep(0.5)
    assert psutil.Process(process.pid).cpu_times().user - before < 0.25
    for stranger in strangers:
        stranger.close()
    process.communicate("", timeout=10)
    assert process.returncode == 0
