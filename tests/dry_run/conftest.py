"""The dry run of this process: started before anything imports CuPy, or a reason to skip."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dry_run import DryRun, start, why_impossible


@pytest.fixture(scope="session")
def dry(tmp_path_factory: pytest.TempPathFactory) -> DryRun:
    """CuPy on stand-ins; GPU 0 is the current one, tests use GPU 1."""
    if reason := why_impossible():
        pytest.skip(reason)
    return start(str(tmp_path_factory.mktemp("dry-run")))


@pytest.fixture(autouse=True)
def _counts_from_zero(dry: DryRun) -> None:
    dry.reset()
