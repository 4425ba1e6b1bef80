"""Cutting faulthandler's dumps to what people want to read."""

from __future__ import annotations

from dtrain.launcher.job.stacks import asked_stack, crash_stack

DUMP = """\
Thread 0x1 (most recent call first):
  File "/usr/lib/python3/socket.py", line 706 in readinto

Current thread 0x2 (most recent call first):
  File "/usr/lib/python3/ctypes/__init__.py", line 519 in string_at
  File "/home/u/script.py", line 22 in <module>
  File "<frozen runpy>", line 88 in _run_code
  File "/x/dtrain/launcher/rank/script.py", line 56 in _execute
"""
FRAMES = [
    '  File "/usr/lib/python3/ctypes/__init__.py", line 519 in string_at',
    '  File "/home/u/script.py", line 22 in <module>',
]


def test_a_dump_that_was_asked_for():
    assert asked_stack(DUMP).splitlines() == FRAMES
    assert asked_stack("") == ""
    newer = DUMP + DUMP.replace("line 22", "line 23")
    assert "line 23" in asked_stack(newer)
    assert "line 22" not in asked_stack(newer)


def test_a_crash():
    crash = f"Fatal Python error: Segmentation fault\n\n{DUMP}\nExtension modules: numpy\n"
    assert crash_stack(crash).splitlines() == ["Fatal Python error: Segmentation fault", *FRAMES]
    assert crash_stack(DUMP.replace("22", "1") + crash) == crash_stack(crash)


def test_what_was_only_asked_for_is_no_crash():
    assert crash_stack(DUMP) == ""
    assert crash_stack("") == ""


def test_frames_of_modules_end_at_runpy_too():
    text = DUMP.replace("<frozen runpy>", "/usr/lib/python3/runpy.py")
    assert asked_stack(text).splitlines() == FRAMES
