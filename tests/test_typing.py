"""What a type checker sees: the scripts we show are clean under `mypy --strict`, and misspelt names are found."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dtrain import collectives

ROOT = Path(__file__).parents[1]

# Each line names something that is not there.
MISSPELT = """\
import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist, data, models, nn, optim
dt.models.resnet19
dt.modelz
dt.collectives.initt
dt.checkpoint.savee
dt.launcher.nothing
dt.Tensor.reshap
dist.all_reduc
dist.data_paralel
data.Loader
models.resnet0
nn.Linaer
optim.Admm
F.rellu
"""


def mypy(path: Path) -> str:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(path)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False).stdout


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def test_the_scripts_of_the_readme_are_typed(tmp_path: Path) -> None:
    blocks = python_blocks("README.md")
    assert blocks
    for number, block in enumerate(blocks):
        (tmp_path / f"script{number}.py").write_text(block)
        assert mypy(tmp_path / f"script{number}.py") == ""


def test_the_scripts_of_the_documentation_are_typed() -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "docs/generate.py", "docs/pictures.py"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False).stdout == ""


def test_misspelt_names_are_found(tmp_path: Path) -> None:
    (tmp_path / "misspelt.py").write_text(MISSPELT)
    found = {int(line.split(":")[1]) for line in mypy(tmp_path / "misspelt.py").splitlines() if "attr-defined" in line}
    assert found == set(range(4, 1 + MISSPELT.count("\n")))


@pytest.mark.parametrize("path", ["collectives/__init__.py", "dtrain/__init__.py"])
def test_type_checkers_see_the_names_that_are_imported_on_first_use(path: str) -> None:
    tree = ast.parse((ROOT / path).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    seen = {f"{node.module}.{name.name}" for node in block.body for name in node.names}
    if path.startswith("collectives"):
        assert seen == {f"dtrain.collectives.{module}.{name}" for name, module in collectives._PUBLIC.items()}
    else:
        import dtrain

        assert seen == {f"dtrain.{name}" for name in dtrain._IMPORTED_WHEN_USED}
