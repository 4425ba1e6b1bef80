"""The table of environment variables is complete, and names nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

from dtrain.base.environment_variables import ENVIRONMENT_VARIABLES
from dtrain.launcher.command.flags import FLAGS

ROOT = Path(__file__).parents[2]


def named_in_sources() -> set[str]:
    folders = [ROOT / name for name in ("dtrain", "kernels", "collectives", "launcher", "examples")]
    files = {path.resolve() for folder in folders for path in folder.rglob("*.py")}
    texts = [path.read_text() for path in files if path.name != "environment_variables.py"]
    return {name for text in texts for name in re.findall(r"\bDTRAIN_[A-Z][A-Z_]*[A-Z]\b", text)}


def test_sources_and_table_name_the_same() -> None:
    listed = [variable.name for variable in ENVIRONMENT_VARIABLES]
    assert len(set(listed)) == len(listed)
    assert named_in_sources() - {flag.variable for flag in FLAGS} == set(listed)


def test_no_variable_is_also_the_mirror_of_a_flag() -> None:
    assert not {flag.variable for flag in FLAGS} & {variable.name for variable in ENVIRONMENT_VARIABLES}
