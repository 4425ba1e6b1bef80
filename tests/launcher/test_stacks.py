"""Cutting our own frames off stacks."""

from __future__ import annotations

from dtrain.launcher.stacks import crash_stack, without_starter

STACKS = """\
thread MainThread:
  File "/x/dtrain/launcher/rank_main.py", line 36, in <module>
    sys.exit(main(sys.argv[1:]))
  File "/x/dtrain/launcher/script.py", line 56, in _execute
    runpy.run_path(self.name, run_name="__main__")
  File "<frozen runpy>", line 88, in _run_code
  File "/home/u/train.py", line 13, in <module>
    step()
thread loader:
  File "/usr/lib/python3/threading.py", line 982, in run
    self._target()
"""


def test_without_starter():
    assert without_starter(STACKS).splitlines() == [
        "thread MainThread:",
        '  File "/home/u/train.py", line 13, in <module>',
        "    step()",
        "thread loader:",
        '  File "/usr/lib/python3/threading.py", line 982, in run',
        "    self._target()",
    ]


def test_a_users_own_file_of_the_same_name_stays():
    text = 'thread MainThread:\n  File "/home/u/script.py", line 1, in <module>\n    f()'
    assert without_starter(text) == text


def test_crash_stack():
    faults = """\
Fatal Python error: Segmentation fault

Thread 0x1 (most recent call first):
  File "/usr/lib/python3/socket.py", line 706 in readinto

Current thread 0x2 (most recent call first):
  File "/usr/lib/python3/ctypes/__init__.py", line 519 in string_at
  File "/home/u/train.py", line 22 in <module>
  File "<frozen runpy>", line 88 in _run_code

Extension modules: numpy
"""
    assert crash_stack(faults).splitlines() == [
        "Fatal Python error: Segmentation fault",
        '  File "/usr/lib/python3/ctypes/__init__.py", line 519 in string_at',
        '  File "/home/u/train.py", line 22 in <module>',
    ]
    assert crash_stack("") == ""
    assert crash_stack("something else\n") == "something else\n"
