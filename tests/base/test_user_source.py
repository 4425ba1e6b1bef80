"""Whose line is meant: that of who called dtrain, and for messages one that can be looked up."""

from __future__ import annotations

import contextlib
import inspect
import sys
from types import ModuleType

from dtrain.base.user_source import user_frame, user_source


def test_the_line_of_the_caller():
    line = inspect.currentframe().f_lineno + 1
    assert user_source() == f"test_user_source.py:{line}"
    assert user_frame() is sys._getframe()


def test_frames_of_dtrain_are_passed_and_those_of_like_names_are_not():
    for name, is_ours in (("dtrain.nn.module", True), ("dtrain", True), ("dtrainer.main", False)):
        module = ModuleType(name)
        exec("def call(function):\n    return function()", vars(module))
        assert (module.call(user_frame) is sys._getframe()) == is_ours


def test_generated_code_and_context_managers_are_callers_but_no_places():
    module = ModuleType("generated")
    exec(compile("def call(function):\n    return function()", "<string>", "exec"), vars(module))
    assert module.call(user_frame).f_code is module.call.__code__
    line = inspect.currentframe().f_lineno + 1
    assert module.call(user_source) == f"test_user_source.py:{line}"
    with contextlib.ExitStack() as stack:
        sources = []
        stack.callback(lambda: module.call(lambda: sources.append(user_source())))
    assert sources[0].startswith("test_user_source.py:")
