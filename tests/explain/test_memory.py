"""`dtrain explain memory`: the report of a model's step, and what wrong numbers are told."""

from __future__ import annotations

import pytest

from dtrain.cli import main


def test_the_report_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "memory", "digits_cnn", "--most", "3"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("memory of step: ")
    assert "arena on cpu: " in printed and "fullest at node " in printed and "state updates: " in printed
    assert printed.count("@cpu = ") + printed.count("workspace of ") == 3


@pytest.mark.parametrize("flag", ["--most", "--batch-size"])
def test_counts_below_one_are_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "memory", "digits_cnn", flag, "0"]) == 2
    assert f"explain memory: expected {flag} of at least 1, got 0" in capsys.readouterr().err
