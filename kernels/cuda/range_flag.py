"""What kernels found wrong with index values, kept on each GPU until somebody waits for that GPU anyway.

A flag is two s64 in GPU memory: the number of a finding, 0 for none, and the bad value. Numbers stand for messages, so
that a kernel can be launched again and again (and replayed) with the same arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

from dtrain.base.errors import expected
from dtrain.base.user_source import user_source
from dtrain.kernels.array_module import Array


@dataclass(frozen=True, slots=True)
class Finding:
    """The error that a flag stands for."""

    op: str
    wanted: str
    advice: str
    error: type[Exception]
    source: str


_findings: list[Finding] = []
_numbers: dict[Finding, int] = {}
_flags: dict[int, Array] = {}
_pending: set[int] = set()


def flag_for(op: str, wanted: str, advice: str, error: type[Exception]) -> tuple[Array, int]:
    """The flag of the current GPU, and the number that a kernel leaves there when it finds a bad value."""
    import cupy

    finding = Finding(op, wanted, advice, error, user_source())
    number = _numbers.get(finding)
    if number is None:
        _findings.append(finding)
        number = _numbers[finding] = len(_findings)
    device = int(cupy.cuda.Device().id)
    if device not in _flags:
        _flags[device] = cupy.zeros(2, "int64")
        cupy.cuda.get_current_stream().synchronize()  # other streams will write there
    _pending.add(device)
    return _flags[device], number


def raise_found() -> None:
    """Raise what kernels have found on any GPU since the last call; costs nothing where none was asked to look."""
    if not _pending:
        return
    import cupy

    for device in sorted(_pending):
        with cupy.cuda.Device(device):
            number, value = (int(entry) for entry in _flags[device].get())
            if number:
                _flags[device].fill(0)
        _pending.discard(device)
        if number:
            found = _findings[number - 1]
            advice = f"{found.advice} (found on GPU {device} after the call had returned)"
            raise found.error(expected(f"{found.op} at {found.source}", found.wanted, str(value), advice))


def forget() -> None:
    """Drop the flags of all GPUs."""
    _flags.clear()
    _pending.clear()
