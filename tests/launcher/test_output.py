"""Many streams on one: tags, progress bars, characters cut in two, unfinished lines, log files."""

from __future__ import annotations

import io

import pytest

from dtrain.launcher.output import OutputMultiplexer


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    now = 1_700_000_000.25

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def multiplexer(clock, *, stdout=None, size=2, tag=True, **options):
    stdout = io.StringIO() if stdout is None else stdout
    stderr = io.StringIO()
    mux = OutputMultiplexer(stdout, stderr, size=size, tag=tag, clock=clock, **options)
    return mux, stdout, stderr


def test_lines_are_tagged_and_never_mixed(clock):
    mux, out, err = multiplexer(clock)
    mux.feed(0, "stdout", b"one\ntw")
    mux.feed(1, "stdout", b"ONE\n")
    mux.feed(0, "stdout", b"o\n\n")
    mux.feed(1, "stderr", b"bad\n")
    mux.close()
    assert out.getvalue() == "[0] one\n[1] ONE\n[0] two\n[0]\n"
    assert err.getvalue() == "[1] bad\n"


def test_tags_are_aligned(clock):
    mux, out, _ = multiplexer(clock, size=11)
    mux.feed(3, "stdout", b"a\n")
    mux.feed(10, "stdout", b"b\n")
    assert out.getvalue() == "[ 3] a\n[10] b\n"


def test_without_tags_bytes_pass_unchanged(clock):
    mux, out, _ = multiplexer(clock, tag=False)
    mux.feed(0, "stdout", "a\r\nb\rβ\n".encode())
    mux.close()
    assert out.getvalue() == "a\r\nb\rβ\n"


def test_progress_bars_keep_their_carriage_returns(clock):
    mux, out, _ = multiplexer(clock)
    mux.feed(0, "stdout", b"10%\r20%\r")
    mux.feed(0, "stdout", b"100%\n")
    assert out.getvalue() == "[0] 10%\r[0] 20%\r[0] 100%\n"


def test_bars_that_begin_with_a_carriage_return(clock):
    mux, out, _ = multiplexer(clock)
    for text in (b"\r 0%", b"\r50%", b"\r99%\n"):
        mux.feed(1, "stdout", text)
        clock.now += 1
        mux.tick()
    assert out.getvalue() == "\r[1]  0%\r[1] 50%\r[1] 99%\n"


def test_windows_line_ends_cut_in_two(clock):
    mux, out, _ = multiplexer(clock)
    mux.feed(0, "stdout", b"a\r")
    mux.feed(0, "stdout", b"\nb\r\n")
    assert out.getvalue() == "[0] a\r\n[0] b\r\n"


def test_a_bar_on_a_terminal_is_cleared_before_the_next_line(clock):
    mux, out, _ = multiplexer(clock, stdout=Terminal())
    mux.feed(0, "stdout", b"a long bar\rx")
    mux.feed(1, "stdout", b"short\n")
    assert out.getvalue().count("\x1b[K") == 2
    assert "\x1b[36m[0]\x1b[0m a long bar\r" in out.getvalue()
    assert out.getvalue().endswith("\x1b[K\x1b[33m[1]\x1b[0m short\n")


def test_no_colour_in_a_file(clock):
    mux, out, _ = multiplexer(clock)
    mux.feed(0, "stdout", b"a\rb\n")
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("cut", range(1, 8))
def test_characters_cut_in_two(clock, cut):
    mux, out, _ = multiplexer(clock)
    data = "ä€😀\n".encode()
    mux.feed(0, "stdout", data[:cut])
    mux.feed(1, "stdout", "ü\n".encode())
    mux.feed(0, "stdout", data[cut:])
    assert out.getvalue() == "[1] ü\n[0] ä€😀\n"


def test_bytes_that_are_no_text_are_replaced_and_kept_in_the_log(clock, tmp_path):
    mux, out, _ = multiplexer(clock, log_dir=str(tmp_path))
    mux.feed(0, "stdout", b"\xff\xfe\n\xe2")
    mux.close()
    assert out.getvalue() == "[0] \ufffd\ufffd\n[0] \ufffd\n"
    assert (tmp_path / "rank.00" / "stdout").read_bytes() == b"\xff\xfe\n\xe2"


def test_a_terminal_that_is_not_utf8(clock):
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii", newline="")
    mux, _, _ = multiplexer(clock, stdout=out)
    mux.feed(0, "stdout", "β=1\n".encode())
    assert raw.getvalue() == b"[0] ?=1\n"


def test_unfinished_lines_are_shown_after_a_moment(clock):
    mux, out, _ = multiplexer(clock)
    mux.feed(0, "stdout", b"name? ")
    mux.tick()
    assert out.getvalue() == ""
    clock.now += 0.3
    mux.tick()
    mux.tick()
    assert out.getvalue() == "[0] name? "
    mux.feed(0, "stdout", b"yes\n")
    assert out.getvalue() == "[0] name? yes\n"


def test_an_unfinished_line_is_ended_before_another_ranks_line(clock):
    mux, out, _ = multiplexer(clock)
    mux.feed(0, "stdout", b"wait")
    clock.now += 1
    mux.tick()
    mux.feed(1, "stdout", b"here\n")
    mux.feed(0, "stdout", b"ing\n")
    assert out.getvalue() == "[0] wait\n[1] here\n[0] ing\n"


def test_close_shows_the_rest(clock):
    mux, out, _ = multiplexer(clock)
    mux.feed(0, "stdout", b"no end")
    mux.close()
    mux.close()
    assert out.getvalue() == "[0] no end\n"


def test_timestamps(clock):
    mux, out, _ = multiplexer(clock, timestamp=True)
    mux.feed(0, "stdout", b"a\n")
    assert out.getvalue()[2] == ":"
    assert out.getvalue()[8:] == ".250 [0] a\n"


def test_log_files(clock, tmp_path):
    mux, _, _ = multiplexer(clock, size=3, log_dir=str(tmp_path / "logs"))
    mux.feed(2, "stderr", b"bad\n")
    mux.feed(2, "stderr", b"worse\n")
    mux.close()
    assert (tmp_path / "logs" / "rank.02" / "stderr").read_text() == "bad\nworse\n"
    assert not (tmp_path / "logs" / "rank.00").exists()
    assert mux.log_path(2, "stderr") == tmp_path / "logs" / "rank.02" / "stderr"
