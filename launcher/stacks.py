"""Stacks as people want to read them: from the script's first line on, without the frames that started it."""

from __future__ import annotations

import re

_STARTER = re.compile(r'File "(?:<frozen runpy>|[^"]*/runpy\.py|[^"]*/launcher/(?:script|supervisor|rank_main)\.py)"')


def without_starter(stacks: str) -> str:
    """Cut the frames of our bootstrap and runpy off a stack whose newest frame comes last."""
    kept: list[str] = []
    skips_source = False
    for line in stacks.splitlines():
        is_frame = line.lstrip().startswith('File "')
        if is_frame:
            skips_source = _STARTER.search(line) is not None
        elif not line.startswith("    "):
            skips_source = False  # a heading: the next thread
        if not skips_source:
            kept.append(line)
    return "\n".join(kept)


def crash_stack(faults: str) -> str:
    """What faulthandler wrote, cut to its first line and the thread that crashed (newest frame first)."""
    lines = faults.splitlines()
    begin = next((i for i, line in enumerate(lines) if line.startswith("Current thread")), None)
    if begin is None:
        return faults
    kept = []
    for line in lines[begin + 1 :]:
        if not line.startswith("  File") or _STARTER.search(line):
            break
        kept.append(line)
    return "\n".join([*lines[:1], *kept])
