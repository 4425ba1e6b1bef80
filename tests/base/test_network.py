"""This host's addresses, and connecting to a peer that is known by several."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from dtrain.base import network
from dtrain.base.network import address_towards, connect_any, own_addresses, seconds_unanswered
from dtrain.base.rank_info import RankInfo
from dtrain.control import client as client_module
from dtrain.control import server as server_module
from dtrain.control.client import ControlClient
from dtrain.control.connection import VANISHED_AFTER, parse_address
from dtrain.control.messages import Joining
from dtrain.control.server import ControlServer

pytestmark = pytest.mark.alone


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def test_address_towards():
    assert address_towards("127.0.0.1") == "127.0.0.1"
    assert address_towards("no.such.host.invalid") == ""


def test_own_addresses_without_a_default_route(monkeypatch):
    """A cluster's inner network has none, and still every interface counts."""
    real = own_addresses()
    monkeypatch.setattr(network, "address_towards", lambda host="": "10.9.9.9" if host else "")
    assert set(own_addresses()) == set(real)
    assert own_addresses("10.9.9.1")[0] == "10.9.9.9"
    monkeypatch.setattr(socket, "if_nameindex", lambda: [(1, "lo")])
    assert own_addresses() == ["127.0.0.1"]


def test_the_address_that_answers_is_taken(listener):
    port = listener.getsockname()[1]
    for others in ([], [("127.0.0.1", closed_port())], [("255.255.255.255", 9), ("127.0.0.2", closed_port())]):
        for places in ([*others, ("127.0.0.1", port)], [("127.0.0.1", port), *others]):
            with connect_any(places, 5.0) as connection:
                assert connection.getpeername() == ("127.0.0.1", port)
                assert connection.gettimeout() is None or len(places) == 1
                listener.accept()[0].close()


def test_one_that_nobody_answers_costs_little(listener):
    full = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers = []
    with full:
        for _ in range(3):  # from here on the kernel leaves attempts without an answer
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
            fillers.append(filler)
        begin = time.monotonic()
        with connect_any([full.getsockname(), listener.getsockname()], 5.0) as connection:
            assert connection.getpeername() == listener.getsockname()
        assert time.monotonic() - begin < 3
        with pytest.raises(OSError, match="no answer"):
            connect_any([full.getsockname()] * 2, 0.3)
        for filler in fillers:
            filler.close()


def test_nobody_answers():
    with pytest.raises(OSError, match=os.strerror(111)):
        connect_any([("127.0.0.1", closed_port()), ("127.0.0.2", closed_port())], 5.0)


def test_a_server_of_several_addresses():
    heard = []
    server = ControlServer(
        "0.0.0.0", advertised_hosts=["255.255.255.255", "127.0.0.1"], on_message=lambda _, m: heard.append(m)
    )
    client = ControlClient(server.address, server.token, info=RankInfo(size=2))
    try:
        assert [parse_address(part)[0] for part in server.address.split(",")] == ["255.255.255.255", "127.0.0.1"]
        assert client.request(Joining(), timeout=5)
        assert heard
    finally:
        client.close()
        server.close()


def test_a_reader_that_pauses_is_no_host_that_has_vanished(listener):
    """What lies unread fills both buffers, and the system of the reader answers for it."""
    with socket.create_connection(listener.getsockname()) as writer, listener.accept()[0]:
        writer.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                writer.send(bytes(1 << 16))
        time.sleep(0.5)  # several times as long as the first of the probes takes
        assert seconds_unanswered(writer) == 0.0
    with pytest.raises(OSError):
        seconds_unanswered(writer)


@pytest.mark.parametrize("side", ["server", "client"])
def test_who_stays_unanswered_for_long_is_lost(monkeypatch, side):
    lost = {"server": threading.Event(), "client": threading.Event()}
    answers = {"server": 0.0, "client": 0.0}
    monkeypatch.setattr(server_module, "LOOK_INTERVAL", 0.0)
    monkeypatch.setattr(server_module, "seconds_unanswered", lambda _: answers["server"])
    monkeypatch.setattr(client_module, "seconds_unanswered", lambda _: answers["client"])
    server = ControlServer(on_lost=lambda _: lost["server"].set())
    client = ControlClient(server.address, server.token, info=RankInfo(size=2), on_lost=lost["client"].set)
    try:
        for answer, is_lost in ((VANISHED_AFTER - 1, False), (VANISHED_AFTER + 1, True)):
            answers[side] = answer
            client.leave_if_unreachable()
            client.request(Joining(), timeout=5)
            assert lost[side].wait(5 if is_lost else 0.0) is is_lost
        assert lost["server"].wait(5) and lost["client"].wait(5)
    finally:
        client.close()
        server.close()
