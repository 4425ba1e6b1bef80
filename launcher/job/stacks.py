"""Stacks as faulthandler writes them, cut to what people want: one thread, from the script on."""

from __future__ import annotations

import re

_STARTER = re.compile(
    r'File "(?:<frozen runpy>|[^"]*/runpy\.py|[^"]*/launcher/rank/(?:script|supervisor|rank_main)\.py)"'
)


def crash_stack(faults: str) -> str:
    """What faulthandler wrote of a crash: the error and the thread that crashed, newest frame first."""
    begin = faults.rfind("Fatal Python error")
    if begin < 0:
        return ""
    return "\n".join([faults[begin:].partition("\n")[0], *_current_thread(faults[begin:])])


def asked_stack(faults: str) -> str:
    """The main thread of the last dump that was asked for, newest frame first."""
    return "\n".join(_current_thread(faults))


def _current_thread(faults: str) -> list[str]:
    _, found, rest = faults.rpartition("Current thread")
    frames = []
    for line in rest.splitlines()[1:] if found else []:
        if not line.startswith("  File") or _STARTER.search(line):
            break
        frames.append(line)
    return frames
