"""The small languages of a launch: hosts, hostfiles, variables, and how many ranks they mean."""

from __future__ import annotations

import pytest

from dtrain.base.errors import LaunchError
from dtrain.launcher.plan.spec import (
    Host,
    LaunchSpec,
    parse_hosts,
    parse_variable,
    read_environment_file,
    read_hostfile,
)


def spec(**fields):
    return LaunchSpec(script="train.py", **fields)


@pytest.mark.parametrize(
    ("fields", "size", "placed"),
    [
        ({}, 1, [("localhost", 1)]),
        ({"num_proc": 4}, 4, [("localhost", 4)]),
        ({"nproc_per_node": 3}, 3, [("localhost", 3)]),
        ({"hosts": parse_hosts("a:2,b:4")}, 6, [("a", 2), ("b", 4)]),
        ({"hosts": parse_hosts("a:2,b:4"), "num_proc": 3}, 3, [("a", 2), ("b", 1)]),
        ({"hosts": parse_hosts("a:2,b:4"), "num_proc": 1}, 1, [("a", 1)]),
        ({"hosts": parse_hosts("a,b")}, 2, [("a", 1), ("b", 1)]),
        ({"hosts": parse_hosts("a,b"), "num_proc": 5}, 5, [("a", 3), ("b", 2)]),
        ({"hosts": parse_hosts("a,b"), "nproc_per_node": 8}, 16, [("a", 8), ("b", 8)]),
        ({"hosts": parse_hosts("a:9,b:9"), "nproc_per_node": 2}, 4, [("a", 2), ("b", 2)]),
    ],
)
def test_sizes(fields, size, placed):
    assert spec(**fields).world_size == size
    assert spec(**fields).ranks_per_host() == placed


@pytest.mark.parametrize(
    "fields",
    [{"hosts": parse_hosts("a:2"), "num_proc": 3}, {"hosts": parse_hosts("a"), "nproc_per_node": 2, "num_proc": 3}],
)
def test_more_ranks_than_slots(fields):
    with pytest.raises(LaunchError, match=r"-np: expected at most 2 ranks on a.*, got 3; add hosts or slots"):
        spec(**fields).ranks_per_host()


def test_hosts():
    assert parse_hosts("node-1.site.org:2, 10.0.0.2") == (Host("node-1.site.org", 2), Host("10.0.0.2"))
    assert parse_hosts("[::1]:4") == (Host("[::1]", 4),)
    assert str(Host("a", 2)) == "a:2"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a list such as a:2,b:4, got ''"),
        ("a:b", "expected a list such as a:2,b:4, got 'a:b'"),
        ("a,,b", "expected a list such as a:2,b:4"),
        ("a:0", "expected at least one slot, got a:0"),
    ],
)
def test_bad_hosts(text, message):
    with pytest.raises(LaunchError) as caught:
        parse_hosts(text)
    assert message in str(caught.value)


def test_ipv6_is_refused_before_anything_starts(tmp_path):
    path = tmp_path / "hosts"
    for text in ("[fd00::7]:2", "fd00::7 slots=2", "fd00::7"):
        path.write_text(text)
        with pytest.raises(LaunchError, match="expected names or IPv4 addresses of hosts, got"):
            read_hostfile(str(path))
    for text in ("[fd00::7]:2", "[fd00::7]"):
        with pytest.raises(LaunchError, match="expected names or IPv4 addresses of hosts, got"):
            parse_hosts(text)
    assert parse_hosts("[::1]:2,me@a:3") == (Host("[::1]", 2), Host("me@a", 3))


def test_hostfile_in_both_dialects(tmp_path):
    path = tmp_path / "hosts"
    path.write_text("# the old ones\na slots=2\nb:4  # MPICH\n\nc\nd slots = 1 max_slots=3\n")
    assert read_hostfile(str(path)) == (Host("a", 2), Host("b", 4), Host("c"), Host("d", 1))


@pytest.mark.parametrize("text", ["a\na\nb\na\n", "a slots=2\nb\na\n", "a:1\nb\na:2\n"])
def test_slots_of_a_repeated_host_add_up(tmp_path, text):
    path = tmp_path / "hosts"
    path.write_text(text)
    assert read_hostfile(str(path)) == (Host("a", 3), Host("b"))
    assert parse_hosts(",".join(text.replace(" slots=", ":").split())) == (Host("a", 3), Host("b"))


@pytest.mark.parametrize(
    ("text", "message"),
    [("a slots\n", "line 1: expected `host slots=2` or `host:2`, got 'a slots'"), ("# nothing\n", "at least one host")],
)
def test_bad_hostfile(tmp_path, text, message):
    path = tmp_path / "hosts"
    path.write_text(text)
    with pytest.raises(LaunchError) as caught:
        read_hostfile(str(path))
    assert message in str(caught.value)


def test_missing_files(tmp_path):
    for read in (read_hostfile, read_environment_file):
        with pytest.raises(LaunchError, match="expected a readable file, got"):
            read(str(tmp_path / "none"))


def test_variables(tmp_path):
    assert parse_variable("A=b=c") == ("A", "b=c")
    assert parse_variable("A=") == ("A", "")
    assert parse_variable("A") == ("A", None)
    with pytest.raises(LaunchError, match="-x: expected NAME or NAME=value, got '1A=2'"):
        parse_variable("1A=2")
    path = tmp_path / "env"
    path.write_text("# comment\nexport A='one two'\nB=3\nC\n\n")
    assert read_environment_file(str(path)) == {"A": "one two", "B": "3", "C": None}
    path.write_text("A=1\nnot a name=2\n")
    with pytest.raises(LaunchError, match="line 2: expected NAME or NAME=value"):
        read_environment_file(str(path))
