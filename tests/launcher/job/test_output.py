"""Many streams on one: tags, progress bars, characters cut in two, unfinished lines, lines of any length."""

from __future__ import annotations

import time

import pytest

from dtrain.launcher.job import output
from dtrain.launcher.job.output import MAX_HELD, SHOW_BAR_EVERY, TaggedLines

pytestmark = pytest.mark.alone


class Screen:
    """Tagged lines into a list, on a clock of the test's."""

    def __init__(self, *, is_terminal=False, size=2, tag=True, timestamp=False):
        self.now = 1_700_000_000.25
        self.written = []
        self.lines = TaggedLines(
            self.written.append,
            is_terminal=is_terminal,
            size=size,
            tag=tag,
            timestamp=timestamp,
            clock=lambda: self.now,
        )

    def feed(self, rank, *chunks, stream="stdout"):
        for chunk in chunks:
            self.lines.feed(rank, stream, chunk)

    def wait(self, seconds=1.0):
        self.now += seconds
        self.lines.tick()

    @property
    def text(self):
        return "".join(self.written)


def test_lines_are_tagged_and_never_mixed():
    screen = Screen()
    screen.feed(0, b"one\ntw")
    screen.feed(1, b"ONE\n")
    screen.feed(0, b"o\n\n")
    screen.feed(0, b"\n\nlast\n\n")
    screen.lines.close()
    assert screen.text == "[0] one\n[1] ONE\n[0] two\n[0]\n[0]\n[0]\n[0] last\n[0]\n"


def test_streams_of_one_rank_have_lines_of_their_own():
    screen = Screen()
    screen.feed(0, b"out")
    screen.feed(0, b"err\n", stream="stderr")
    screen.feed(0, b"put\n")
    assert screen.text == "[0] err\n[0] output\n"


def test_tags_are_aligned():
    screen = Screen(size=11)
    screen.feed(3, b"a\n")
    screen.feed(10, b"b\n")
    assert screen.text == "[ 3] a\n[10] b\n"


def test_without_tags_text_passes_unchanged():
    screen = Screen(tag=False)
    screen.feed(0, "a\r\nb\n\nβ\n".encode())
    screen.lines.close()
    assert screen.text == "a\r\nb\n\nβ\n"


def test_one_rank_on_a_terminal_passes_as_it_is_and_at_once():
    screen = Screen(is_terminal=True, tag=False, size=1)
    screen.feed(0, b"10%\r20%\r", b"100%\n\x1b[A", b"name? ")
    assert screen.text == "10%\r20%\r100%\n\x1b[Aname? "
    screen.lines.say("dtrain: a word\n")
    assert screen.text.endswith("name? \ndtrain: a word\n")


def test_on_a_terminal_a_bar_that_begins_with_a_carriage_return():
    screen = Screen(is_terminal=True)
    for text in (b"\r 0%", b"\r50%", b"\r99%\n"):
        screen.feed(1, text)
        screen.wait()
    plain = screen.text.replace("\x1b[K\x1b[33m[1]\x1b[0m", "[1]")
    assert plain == "[1]  0%\r[1] 50%\r[1] 99%\n"


def test_a_bar_on_a_terminal_is_cleared_before_the_next_line():
    screen = Screen(is_terminal=True)
    screen.feed(0, b"a long bar\rx")
    screen.feed(1, b"short\n")
    assert screen.text.count("\x1b[K") == 2
    assert screen.text.startswith("\x1b[K\x1b[36m[0]\x1b[0m x\r")
    assert screen.text.endswith("\x1b[K\x1b[33m[1]\x1b[0m short\n")


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ([b"10%\r20%\r100%\n"], "100%"),
        ([b"10%", b"\r20%", b"\r100%", b"\n"], "100%"),
        ([b"\r 1%\r 2%\r100%\r\n"], "100%"),
        ([b"\r 1%\r 2%", b"\r100%", b"\r", b"\n"], "100%"),
        ([b"\r99%\r        \rdone\n"], "done"),
        ([b"50%\r", b"    \r", b"\n"], "50%"),
        ([b"a\r", b"\n"], "a\r"),
        ([b"a\rb", b"c\n"], "bc"),
        ([b"bar 1\rbar 2\nplain\nbar 3\rbar 4\n"], "bar 2\n[0] plain\n[0] bar 4"),
    ],
)
def test_where_nobody_watches_only_the_last_state_of_a_bar_is_written(chunks, text):
    screen = Screen()
    screen.feed(0, *chunks)
    screen.lines.close()
    assert screen.text == f"[0] {text}\n"


def test_a_long_bar_shows_a_state_now_and_then():
    screen = Screen()
    for number in range(105):
        screen.feed(0, b"\r%d%%" % number)
        screen.wait(0.1)
    assert len(screen.text.splitlines()) == 2, "in ten seconds"
    screen.feed(0, b"\n", b"after\n")
    assert screen.text.splitlines()[2:] == ["[0] 104%", "[0] after"]
    assert SHOW_BAR_EVERY == 5.0


def test_bars_of_two_ranks_do_not_mix():
    screen = Screen()
    for number in range(5):
        screen.feed(0, b"\ra%d" % number)
        screen.feed(1, b"b%d\r" % number)
    screen.feed(1, b"\n")
    screen.feed(0, b"\n")
    assert screen.text == "[1] b4\n[0] a4\n"


def test_windows_line_ends_cut_in_two():
    screen = Screen()
    screen.feed(0, b"a\r", b"\nb\r\n")
    assert screen.text == "[0] a\r\n[0] b\r\n"


def test_no_colour_in_a_file():
    screen = Screen()
    screen.feed(0, b"a\rb\n")
    assert "\x1b" not in screen.text


@pytest.mark.parametrize("cut", range(1, 8))
def test_characters_cut_in_two(cut):
    screen = Screen()
    data = "ä€😀\n".encode()
    screen.feed(0, data[:cut])
    screen.feed(1, "ü\n".encode())
    screen.feed(0, data[cut:])
    assert screen.text == "[1] ü\n[0] ä€😀\n"


def test_bytes_that_are_no_text_are_replaced():
    screen = Screen()
    screen.feed(0, b"\xff\xfe\n\xe2")
    screen.lines.close()
    assert screen.text == "[0] \ufffd\ufffd\n[0] \ufffd\n"


def test_unfinished_lines_are_shown_after_a_moment():
    screen = Screen()
    screen.feed(0, b"name? ")
    screen.wait(0.1)
    assert screen.text == ""
    screen.wait(0.2)
    screen.wait(0.0)
    assert screen.text == "[0] name? "
    screen.feed(0, b"yes\nand\n")
    assert screen.text == "[0] name? yes\n[0] and\n"


def test_an_unfinished_line_is_ended_before_another_ranks_line():
    screen = Screen()
    screen.feed(0, b"wait")
    screen.wait()
    screen.feed(1, b"here\n")
    screen.feed(0, b"ing\n")
    screen.lines.say("dtrain: a word\n")
    assert screen.text == "[0] wait\n[1] here\n[0] ing\ndtrain: a word\n"


def test_words_of_the_launcher_stand_on_lines_of_their_own():
    screen = Screen()
    screen.feed(0, b"wait")
    screen.lines.close()
    screen.lines.say("dtrain: a word\n")
    screen.feed(0, b"more\n")
    assert screen.text == "[0] wait\ndtrain: a word\n[0] more\n"


def test_timestamps():
    screen = Screen(timestamp=True)
    screen.feed(0, b"a\n")
    assert screen.text[2] == ":"
    assert screen.text[8:] == ".250 [0] a\n"


@pytest.mark.parametrize("is_terminal", [False, True])
@pytest.mark.parametrize("fill", [b"x", b"x\r", b"\r", b"\xc3\xa4"], ids=["plain", "returns", "only returns", "utf8"])
def test_a_line_without_end_takes_linear_time_and_bounded_memory(is_terminal, fill):
    def seconds(chunks):
        screen = Screen(is_terminal=is_terminal)
        chunk = fill * ((1 << 16) // len(fill))
        begin = time.process_time()
        for _ in range(chunks):
            screen.feed(0, chunk)
        screen.lines.close()
        return time.process_time() - begin

    assert seconds(64) < 2.0, "4 MiB"


@pytest.mark.parametrize("fill", [b"x", b"x\r", b"\xc3\xa4"], ids=["plain", "returns", "utf8"])
def test_a_line_that_grows_by_a_few_characters_is_put_together_once(fill, monkeypatch):
    handled = 0

    def counting(line):
        nonlocal handled
        text = take(line)
        handled += len(text)
        return text

    take = output._Line.take
    monkeypatch.setattr(output._Line, "take", counting)
    screen = Screen()
    for _ in range(1 << 12):
        screen.feed(0, fill * 8)
    screen.feed(0, b"\n")
    assert 0 < handled <= 2 * len(fill * 8) * (1 << 12)


def test_a_long_line_is_kept_whole_up_to_a_bound():
    screen = Screen()
    screen.feed(0, b"y" * (MAX_HELD - 10))
    screen.feed(1, b"short\n")
    screen.feed(0, b"\n")
    assert [len(line) for line in screen.text.splitlines()] == [9, MAX_HELD - 10 + 4]
    screen.feed(0, b"y" * (MAX_HELD + 1))
    assert screen.text.endswith("yyy"), "what is longer is shown in pieces"
