"""The text of a call, the frame that shows it, and the error when texts differ."""

from __future__ import annotations

from dtrain.base.errors import CollectiveMismatchError
from dtrain.collectives.communicator.call_text import (
    CALL_TEXT_BYTES,
    call_text_in,
    call_text_of,
    compact,
    frame_of,
    mismatch,
    rank_list,
)


def test_call_text_names_all_that_must_agree() -> None:
    assert call_text_of("all_reduce", "f32", ((8, 3),), "sum") == "all_reduce sum f32[8,3]"
    assert call_text_of("broadcast", "s64", ((2,), ()), root=1) == "broadcast s64[2] s64[] root=1"
    assert call_text_of("barrier") == "barrier"


def test_frames_have_one_size_and_differ_where_texts_do() -> None:
    short, long = "all_reduce sum f32[3]", "all_reduce_many sum " + " ".join(f"f32[{n}]" for n in range(1000))
    assert len(frame_of(short)) == len(frame_of(long)) == CALL_TEXT_BYTES
    assert call_text_in(frame_of(short)) == short
    assert call_text_in(frame_of(long)).startswith("all_reduce_many sum f32[0] f32[1]")
    assert f"({len(long)} bytes, digest " in call_text_in(frame_of(long))
    assert frame_of(long) != frame_of(long.replace("999", "998")), "a difference beyond the cut counts too"
    assert frame_of(short) is frame_of(short), "shown again without copying"


def test_an_empty_frame_says_so() -> None:
    assert call_text_in(bytes(CALL_TEXT_BYTES)) == "(no collective yet)"


def test_mismatch_shows_the_odd_ranks_first() -> None:
    good, bad = frame_of("all_reduce sum f32[8]"), frame_of("all_reduce max f32[8]")
    error = mismatch("world", 17, [good, good, bad, good], range(4))
    assert isinstance(error, CollectiveMismatchError)
    said, advice = str(error).splitlines()
    assert said == (
        "group 'world', collective 17: expected the same call on every rank, got rank 2: all_reduce max f32[8]; "
        "ranks 0,1,3: all_reduce sum f32[8]"
    )
    assert advice.startswith("make every rank of the group issue the same collectives in the same order")


def test_mismatch_names_ranks_of_the_job() -> None:
    good, bad = frame_of("all_reduce sum f32[8]"), frame_of("all_reduce max f32[8]")
    assert "got rank 7: all_reduce max f32[8]; ranks 3,5: all_reduce sum" in str(
        mismatch("world/3,7,5", 1, [good, bad, good], (3, 7, 5))
    )


def test_mismatch_does_not_grow_with_the_ranks() -> None:
    frames = [frame_of(f"all_reduce sum f32[{n}]") for n in range(500)]
    text = str(mismatch("world", 1, frames, range(500)))
    assert "496 more differ" in text and len(text) < 500


def test_a_text_that_no_encoding_knows_is_shown_all_the_same() -> None:
    """Names of groups and of exceptions are the user's, and names of files may be any bytes."""
    frame = frame_of("meet caf\udcff")
    assert len(frame) == CALL_TEXT_BYTES and call_text_in(frame) == "meet caf\\udcff"
    assert frame != frame_of("meet caf\udcfe")


def test_compact_ranks() -> None:
    assert compact([]) == ""
    assert compact([4, 5, 6, 9, 1, 0]) == "4-6,9,1,0"
    assert rank_list([3]) == "rank 3" and rank_list([0, 1, 2]) == "ranks 0-2"
