"""Output on threads of their own: nobody waits for a reader, memory is bounded by credit, errors are told once."""

from __future__ import annotations

import fcntl
import io
import os
import threading
import time

import pytest

from dtrain.launcher.job.output_thread import OutputThreads, credit_of_rank

pytestmark = pytest.mark.alone


@pytest.fixture
def pipe():
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    stream = os.fdopen(write, "w")
    yield read, stream
    stream.close()
    try:
        os.close(read)
    except OSError:
        assert True  # the test has closed it


def read_all(descriptor, nbytes):
    data = b""
    while len(data) < nbytes:
        data += os.read(descriptor, 1 << 16)
    return data


def test_a_reader_that_pauses_holds_nobody_up(pipe):
    read, stream = pipe
    credit = []
    err = io.StringIO()
    output = OutputThreads(stream, err, size=2, tag=True, on_written=lambda rank, nbytes: credit.append((rank, nbytes)))

    def give():
        for _ in range(100):
            output.feed(1, "stdout", b"x" * 999 + b"\n")
        output.say("said\n")

    giving = threading.Thread(target=give, daemon=True)
    giving.start()
    giving.join(5)
    assert not giving.is_alive(), "who gives output away waits for no reader"
    assert not output.drain(patience=0.2, limit=10)
    assert err.getvalue() == "said\n", "the other sink goes on"
    assert not output.drain(patience=10, limit=0.2)
    assert not output.drain(patience=10, limit=10, is_enough=lambda: True)
    assert credit == [], "what is not written is not given back"
    reader = threading.Thread(target=read_all, args=(read, 100 * 1004))
    reader.start()
    assert output.drain(patience=5, limit=20)
    reader.join()
    assert sum(nbytes for _, nbytes in credit) == 100_000


def test_a_reader_that_leaves_is_told_once_and_logs_go_on(pipe, tmp_path):
    read, stream = pipe
    errors = []
    output = OutputThreads(
        stream, None, size=3, tag=True, log_dir=str(tmp_path / "logs"), on_error=lambda *what: errors.append(what)
    )
    os.close(read)
    for _ in range(3):
        output.feed(2, "stdout", b"\xff line\n")
        output.feed(2, "stderr", b"bad\n")
        assert output.drain(patience=5, limit=5)
    [(name, error)] = errors
    assert name == "stdout"
    assert isinstance(error, BrokenPipeError)
    assert (tmp_path / "logs" / "rank.02" / "stdout").read_bytes() == b"\xff line\n" * 3
    assert (tmp_path / "logs" / "rank.02" / "stderr").read_bytes() == b"bad\n" * 3
    assert not (tmp_path / "logs" / "rank.00").exists()
    assert output.log_path(2, "stderr") == tmp_path / "logs" / "rank.02" / "stderr"


def test_a_full_disk_takes_the_log_and_not_the_output(tmp_path):
    (tmp_path / "rank.00").mkdir(parents=True)
    (tmp_path / "rank.00" / "stdout").symlink_to("/dev/full")
    errors = []
    out = io.StringIO()
    output = OutputThreads(
        out, None, size=1, tag=False, log_dir=str(tmp_path), on_error=lambda *what: errors.append(what)
    )
    for _ in range(3):
        output.feed(0, "stdout", b"line\n")
    assert output.drain(patience=5, limit=5)
    assert out.getvalue() == "line\n" * 3
    [(name, error)] = errors
    assert "rank.00/stdout" in name
    assert error.strerror == "No space left on device"


def test_a_full_disk_is_told_once_whatever_the_number_of_logs(tmp_path):
    for rank in range(3):
        (tmp_path / f"rank.0{rank}").mkdir()
        (tmp_path / f"rank.0{rank}" / "stdout").symlink_to("/dev/full")
    errors = []
    output = OutputThreads(
        io.StringIO(), None, size=3, tag=False, log_dir=str(tmp_path), on_error=lambda *what: errors.append(what)
    )
    for rank in range(3):
        output.feed(rank, "stdout", b"line\n")
    assert output.drain(patience=5, limit=5)
    assert [name.endswith("rank.00/stdout") for name, _ in errors] == [True]


def test_two_streams_into_one_pipe_do_not_mix(pipe):
    read, stream = pipe
    other = os.fdopen(os.dup(stream.fileno()), "w")
    output = OutputThreads(stream, other, size=2, tag=True)
    output.feed(0, "stdout", b"begun")
    time.sleep(0.4)
    output.feed(1, "stderr", b"error\n")
    output.finish_lines()
    output.say("verdict\n")
    assert output.drain(patience=5, limit=5)
    assert os.read(read, 1000) == b"[0] begun\n[1] error\nverdict\n"
    other.close()


def test_a_descriptor_that_does_not_block(pipe):
    read, stream = pipe
    os.set_blocking(stream.fileno(), False)
    output = OutputThreads(stream, None, size=1, tag=False)
    output.feed(0, "stdout", b"z" * 50_000)
    assert len(read_all(read, 50_000)) == 50_000
    assert output.drain(patience=5, limit=5)


def test_a_terminal_that_is_not_utf8():
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", errors="replace", newline="")
    output = OutputThreads(out, None, size=2, tag=True)
    output.feed(0, "stdout", "β=1\n".encode())
    assert output.drain(patience=5, limit=5)
    assert raw.getvalue() == b"[0] ?=1\n"


def test_a_file_or_terminal_with_a_descriptor_that_is_not_utf8(tmp_path):
    with open(tmp_path / "out", "w", encoding="ascii") as out:
        output = OutputThreads(out, None, size=2, tag=True)
        output.feed(0, "stdout", "β=1\n".encode())
        output.feed(0, "stdout", b"more\n")
        assert output.drain(patience=5, limit=5)
    assert (tmp_path / "out").read_bytes() == b"[0] ?=1\n[0] more\n"


def test_credit_is_bounded_over_all_ranks():
    assert credit_of_rank(1) == credit_of_rank(2) == 1 << 20
    assert [credit_of_rank(size) * size <= 1 << 24 for size in (4, 16, 100, 256)] == [True] * 4
    assert credit_of_rank(100_000) == 1 << 16
