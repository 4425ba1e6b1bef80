"""The table of exit codes and what is written about it."""

from __future__ import annotations

from pathlib import Path

from dtrain.control import exit_codes
from dtrain.launcher.command import flags

ROOT = Path(__file__).parents[2]


def test_help_and_readme_name_every_code() -> None:
    for row in exit_codes.EXIT_CODES:
        if isinstance(row.code, int):
            assert f"{row.code}" in flags.EXAMPLES.partition("exit codes:")[2]
            assert f"{row.code}" in (ROOT / "README.md").read_text().partition("Exit codes:")[2].partition("\n\n")[0]
