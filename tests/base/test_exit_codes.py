"""Whoever ends with a code of the table ends with the same one."""

from __future__ import annotations

from pathlib import Path

from dtrain.base import control_channel, exit_codes
from dtrain.base.errors import CollectiveMismatchError
from dtrain.launcher import cli, flags, script, supervisor, verdict

ROOT = Path(__file__).parents[2]


def test_all_files_have_the_same_codes() -> None:
    assert cli.WRONG_USAGE == exit_codes.WRONG_USAGE
    assert {cli.COULD_NOT_START, supervisor.START_FAILED, verdict.COULD_NOT_START} == {exit_codes.COULD_NOT_START}
    assert {verdict.TIMED_OUT, control_channel.STALL_EXIT_CODE} == {exit_codes.TIMED_OUT}
    assert {verdict.INTERRUPTED, script.INTERRUPTED} == {exit_codes.INTERRUPTED}
    assert {control_channel.MISMATCH_EXIT_CODE, CollectiveMismatchError.exit_code} == {exit_codes.RANKS_DISAGREE}


def test_help_and_readme_name_every_code() -> None:
    for row in exit_codes.EXIT_CODES:
        if isinstance(row.code, int):
            assert f"{row.code}" in flags.EXAMPLES.partition("exit codes:")[2]
            assert f"{row.code}" in (ROOT / "README.md").read_text().partition("Exit codes:")[2].partition("\n\n")[0]
