"""The databases are read where somebody asks for them (`make test-peers`): importing them takes ten seconds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from peers.tally import TALLY


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if "peers" not in config.option.markexpr.replace("not peers", "") else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = TALLY.report()
    if lines and "PEERS_REPORT" in os.environ:
        Path(os.environ["PEERS_REPORT"]).write_text("\n".join(TALLY.report(most=None)))
    if lines:
        terminalreporter.section("samples of PyTorch's databases")
        for line in lines:
            terminalreporter.write_line(line)
