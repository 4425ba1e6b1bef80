"""Pages made of the product: they name all that is there."""

from __future__ import annotations

import importlib.util
import inspect
import re
from dataclasses import fields
from pathlib import Path

import pytest

import dtrain
from dtrain import collectives, events
from dtrain.base.environment_variables import ENVIRONMENT_VARIABLES
from dtrain.base.rank_info import ENVIRONMENTS
from dtrain.control.exit_codes import EXIT_CODES
from dtrain.launcher.command.flags import FLAGS

PATH = Path(__file__).parents[2] / "docs" / "generate.py"


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("docs_generate", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_variable_has_a_row(generate):
    page = generate.environment_page()
    for variable in ENVIRONMENT_VARIABLES:
        assert f"| `{variable.name}` | {variable.default} | {variable.meaning} |" in page
    for row in ENVIRONMENTS:
        assert all(f"`{name}`" in page for name in (*row.rank, *row.size, *row.local_rank, *row.local_size))


def test_every_exit_code_has_a_row(generate):
    rows = generate.exit_codes_page().count("\n| `")
    assert rows == len(EXIT_CODES) and "| `137`" not in generate.exit_codes_page()


def test_every_kind_of_event_has_its_fields(generate):
    page = generate.events_page()
    for kind, made in events.KINDS.items():
        part = page.partition(f"## `{kind}`\n")[2].partition("\n## ")[0]
        assert all(f"| `{field.name}` |" in part for field in fields(made))


def test_every_flag_has_a_row_with_its_spellings_and_its_variable(generate):
    page = generate.flags_page()
    for flag in FLAGS:
        (row,) = [line for line in page.splitlines() if re.search(rf"`--{flag.name}[ `]", line)]
        assert flag.help.replace("|", "\\|") in row
        assert flag.name == "x" or f"`{flag.variable}`" in row
        assert all(f"`{text}" in row for text in flag.also)


def test_bars_in_cells_are_escaped(generate):
    assert generate.table(("a",), [("x|y",)]).splitlines()[-1] == "| x\\|y |"


@pytest.mark.parametrize("namespace", ["dtrain", "dtrain.nn", "dtrain.optim", "dtrain.data", "dtrain.collectives"])
def test_the_api_page_of_a_namespace_names_every_function_and_class(generate, namespace):
    made = generate.pages()
    page = made[generate.api_path(namespace)]
    module = importlib.import_module(namespace)
    for name in getattr(module, "__all__", None) or dir(module):
        member = getattr(module, name)
        if name.startswith("_") or not (inspect.isfunction(member) or inspect.isclass(member)):
            continue
        if member.__module__.startswith("dtrain"):
            home = made[generate.api_path(generate.home_of(member))]
            assert any(f"::: {member.__module__}.{member.__qualname__}" in text for text in (page, home)) or any(
                f"### `{alias}(" in page for alias in (name, member.__name__)
            )


def test_every_namespace_that_users_import_has_a_page(generate):
    public = {name for name in dir(dtrain) if inspect.ismodule(getattr(dtrain, name)) and not name.startswith("_")}
    inner = {
        "base",
        "bench",
        "cli",
        "capture",
        "control",
        "core",
        "explain",
        "graph",
        "kernels",
        "ops",
        "opset",
        "runtime",
        "errors",
        "importlib",
        "launcher",
        "math",
        "names",
    }
    inner |= {"autograd", "distributed", "multiprocessing", "utils"}  # PyTorch's names of what has a page
    assert {f"dtrain.{name}" for name in public - inner} <= set(generate.NAMESPACES)
    assert collectives.__name__ in generate.NAMESPACES
