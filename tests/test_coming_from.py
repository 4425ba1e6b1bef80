"""docs/coming-from.md is what the product's tables give, its examples run, its imports and flags exist.

That each alias works and each hint appears is held by tests/base/test_names.py, keywords by test_spelling.py there.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dtrain.base import names
from dtrain.base.flag_names import FLAGS
from dtrain.collectives.world import context
from dtrain.launcher.command import flags

ROOT = Path(__file__).parents[1]


def test_the_page_is_what_the_tables_give() -> None:
    spec = importlib.util.spec_from_file_location("coming_from", ROOT / "docs" / "coming_from.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.page(), "run: python docs/coming_from.py"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "coming-from.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(blocks())))
def test_examples_run(number: int) -> None:
    try:
        space: dict[str, object] = {}
        exec(compile(blocks()[number], "coming-from.md", "exec"), space)
        if "total" in space:
            assert space["x"].tolist() == space["total"].tolist()  # type: ignore[attr-defined]
    finally:
        context.finalize()


@pytest.mark.parametrize("line", names.IMPORTS.values())
def test_import_lines_run(line: str) -> None:
    exec(line, {})


def test_the_imports_of_pytorch_are_the_same_objects_where_names_are() -> None:
    """What an import line names stands in ours under the same name."""
    for theirs, ours in names.IMPORTS.items():
        named = theirs.rpartition("import ")[2].replace(" as ", ",").split(",")
        assert named[-1].strip().removeprefix("torch.") in ours or theirs == "import torch"


SPELLINGS = {spelling for flag in flags.FLAGS for spelling in flag.spellings} | {"-m"}


@pytest.mark.parametrize(("starter", "flag"), [(starter, flag) for starter, table in FLAGS.items() for flag in table])
def test_our_flags_exist(starter: str, flag: str) -> None:
    ours = FLAGS[starter][flag]
    if ours.startswith("-"):
        assert ours.split()[0].split("=")[0] in SPELLINGS
    else:
        assert ours.startswith(("leave it out: ", "set DTRAIN_", "run dtrain "))
        assert flag.split()[0] not in SPELLINGS, "the flag exists: say so"


def test_the_commands_named_exist() -> None:
    texts = [text for table in FLAGS.values() for text in table.values()]
    words = set(re.findall(r"run dtrain (\w+)", " ".join(texts)))
    command = [sys.executable, "-m", "dtrain.cli", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert words and [word for word in words if word not in shown.stdout] == []


def test_functions_that_the_tables_name_exist() -> None:
    """A function in the table of keywords without effect, or of exceptions, is one of ours."""
    import dtrain as dt
    import dtrain.functional as F
    from dtrain import checkpoint, data, nn, optim
    from dtrain import collectives as dist
    from dtrain.base import keywords

    named = {name for names, _, _ in keywords.WITHOUT_EFFECT.values() for name in names} | set(keywords.EXCEPTIONS)
    places = (dt, dt.Tensor, F, nn, nn.Module, optim, data, checkpoint, optim.SGD)
    for name in named:
        head, _, word = name.rpartition(".")
        if head:
            assert head == "dist" and hasattr(dist, word), name
        else:
            assert any(word in dir(place) for place in places), name
