"""`dtrain explain`: a subject is a file, and its first line stands in the list."""

from __future__ import annotations

import pytest

from dtrain.cli import main
from dtrain.explain.command import SUBJECTS


@pytest.mark.parametrize("flag", ["--list", "--help"])
def test_the_list_has_every_subject_with_its_words(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", flag]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert [name for name, _ in lines] == SUBJECTS.names
    assert all(words in (SUBJECTS.load(name).__doc__ or "") for name, words in lines)


def test_a_command_without_a_subject_shows_the_list_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain"]) == 2
    assert "  memory  " in capsys.readouterr().out
