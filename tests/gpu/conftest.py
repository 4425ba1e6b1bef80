"""What tests on a real GPU share: the fixture that skips them with a reason, and one line at the end that says so."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from dtrain.base.cuda import device_count, why_cuda_is_unavailable


@pytest.fixture(scope="session")
def gpu() -> str:
    """The device to test on; skips where there is none."""
    reason = why_cuda_is_unavailable()
    if reason:
        pytest.skip(reason)
    return "cuda:0"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """After `pytest -m gpu`: how much ran, and why the rest did not."""
    if config.option.markexpr != "gpu":
        return
    reasons = Counter(str(report.longrepr[2]) for report in terminalreporter.getreports("skipped"))
    passed = len(terminalreporter.getreports("passed"))
    why = "; ".join(f"{count} skipped: {reason.removeprefix('Skipped: ')}" for reason, count in reasons.items())
    terminalreporter.write_line(f"GPU tests: {passed} passed on {device_count()} GPUs" + (f"; {why}" if why else ""))
