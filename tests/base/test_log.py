"""The logger's level and its rank prefix."""

from __future__ import annotations

import logging

import pytest

from dtrain.base.errors import LaunchError
from dtrain.base.log import RankFormatter, get_logger


@pytest.fixture
def fresh_root(monkeypatch):
    root = logging.getLogger("dtrain")
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(root, "propagate", root.propagate)
    return root


def test_lines_carry_the_rank(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    record = logging.LogRecord("dtrain.graph", logging.WARNING, "f", 1, "slow %s", ("pass",), None)
    text = RankFormatter().format(record)
    assert text.startswith("[rank 1/4] ")
    assert text.endswith(" dtrain.graph warning: slow pass")


def test_level_comes_from_the_environment(monkeypatch, fresh_root):
    monkeypatch.setenv("DTRAIN_LOG_LEVEL", "debug")
    assert get_logger("dtrain.graph").name == "dtrain.graph"
    assert get_logger("user").name == "dtrain.user"
    assert fresh_root.level == logging.DEBUG
    assert len(fresh_root.handlers) == 1


def test_unknown_level(monkeypatch, fresh_root):
    monkeypatch.setenv("DTRAIN_LOG_LEVEL", "loud")
    with pytest.raises(LaunchError, match="DTRAIN_LOG_LEVEL: expected one of debug, info, warning, error, got 'loud'"):
        get_logger()
