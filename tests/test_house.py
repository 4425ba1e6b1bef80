"""The house rules that a program can hold: floors, file sizes, links."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from statistics import median

import pytest
from helpers.import_graph import ROOT, circles, import_graph, imports_of, module_name, source_files, tree_of

# From the ground up. A file may import its own floor and those before it.
FLOORS = (
    ("dtrain.base",),
    ("dtrain.control",),
    ("dtrain.events",),
    ("dtrain.kernels",),
    ("dtrain.graph",),
    ("dtrain.opset",),
    ("dtrain.runtime",),
    ("dtrain.passes",),
    ("dtrain.core",),
    ("dtrain.autograd",),
    ("dtrain.capture",),
    ("dtrain.ops", "dtrain.functional"),
    ("dtrain.nn", "dtrain.optim", "dtrain.data", "dtrain.checkpoint"),
    ("dtrain.models", "dtrain.amp", "dtrain.cuda", "dtrain.backends", "dtrain.testing"),
    ("dtrain.collectives",),
    ("dtrain.launcher",),
    ("dtrain.bench", "dtrain.explain", "dtrain.cli"),
    ("dtrain", "dtrain.__main__"),
)
# The lower storey of the collectives knows arrays only; everything else of the room is its upper storey.
LOWER_STOREY = ("communicator", "programs", "memory", "transports", "world")
LOWER_STOREY_MAY_IMPORT = (
    "dtrain.base", "dtrain.control", "dtrain.events", "dtrain.kernels", "dtrain.collectives._native",
    *(f"dtrain.collectives.{folder}." for folder in LOWER_STOREY),
)  # fmt: skip
LAUNCHER_MAY_IMPORT = ("dtrain.base", "dtrain.control", "dtrain.events", "dtrain.launcher")
MAX_LINES = {".py": 400, ".cpp": 500, ".h": 500, ".cu": 500, ".inc": 500}


# Commands whose work is a program of an upper floor: the launcher starts it by its name, as it starts a user's script.
STARTED_BY_NAME = {f"dtrain.launcher.command.{name}" for name in ("doctor_ranks",)}


def floor_of(module: str) -> int:
    """Its floor; that of the root, which stands on all others, for what is on no floor of its own."""
    for number, names in enumerate(FLOORS[:-1]):
        if any(module == name or module.startswith(name + ".") for name in names):
            return number
    return len(FLOORS) - 1


def test_imports_only_go_down() -> None:
    """Those for type checkers too: a floor does not even speak of what stands above it."""
    wrong = []
    for path in source_files():
        mine = module_name(path)
        floor = floor_of(mine)
        for line, name in imports_of(path, for_checkers=True):
            other = floor_of(name)
            if other > floor and mine not in STARTED_BY_NAME:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_the_lower_storey_of_the_collectives_knows_arrays_only() -> None:
    files = [path for folder in LOWER_STOREY for path in sorted((ROOT / "collectives" / folder).glob("*.py"))]
    assert len(files) > len(LOWER_STOREY)
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in files
        for line, name in imports_of(path)
        if not name.startswith(LOWER_STOREY_MAY_IMPORT)
    ]
    assert not wrong, "\n".join(wrong)


def test_folders_of_the_launcher_import_only_down() -> None:
    floors = (("plan", "rank"), ("backends",), ("job",), ("bundle", "command"))
    floor = {f"dtrain.launcher.{folder}": number for number, folders in enumerate(floors) for folder in folders}
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for folder in floor
        for path in sorted((ROOT / folder.replace("dtrain.", "").replace(".", "/")).rglob("*.py"))
        for line, name in imports_of(path)
        if floor.get(".".join(name.split(".")[:3]), -1) > floor[folder]
    ]
    assert not wrong, "\n".join(wrong)


def test_the_launcher_imports_only_base_control_and_events() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted((ROOT / "launcher").rglob("*.py"))
        for line, name in imports_of(path)
        if not name.startswith(LAUNCHER_MAY_IMPORT) and module_name(path) not in STARTED_BY_NAME
    ]
    assert not wrong, "\n".join(wrong)


def test_no_circle_of_imports_has_more_than_two_files() -> None:
    """Imports inside of functions and by strings count; those for type checkers alone do not, since none runs."""
    found = [sorted(circle) for circle in circles(import_graph()) if len(circle) > 2]
    assert not found, "\n".join(map(str, found))


def test_half_of_the_files_have_at_most_a_hundred_lines() -> None:
    assert median(len(path.read_text().splitlines()) for path in source_files()) <= 100


def test_files_stay_readable() -> None:
    folders = ("dtrain", "kernels", "collectives", "launcher", "tests", "examples")
    files = {path.resolve() for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in MAX_LINES}
    long = [
        f"{path.relative_to(ROOT)}: {count} lines, at most {MAX_LINES[path.suffix]}"
        for path in sorted(files)
        if (count := len(path.read_text().splitlines())) > MAX_LINES[path.suffix]
    ]
    assert not long, "\n".join(long)


def test_every_source_file_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in source_files()
        if path.read_text().strip() and ast.get_docstring(tree_of(path)) is None
    ]
    assert not silent, "module docstring missing: " + ", ".join(silent)


@pytest.mark.parametrize("name", ["kernels", "collectives", "launcher"])
def test_the_links_show_the_rooms(name: str) -> None:
    link = ROOT / "dtrain" / name
    assert link.is_symlink(), f"{link} must be a relative link"
    assert link.readlink() == Path("..") / name


def test_no_junk_drawers() -> None:
    junk = {"utils.py", "helpers.py", "misc.py", "common.py"}
    found = [str(path) for path in source_files() if path.name in junk]
    assert not found


def test_every_file_is_on_a_floor() -> None:
    """Of what lies in folders; the root's own file and its entry point stand on top."""
    lost = {name for path in source_files() if floor_of(name := module_name(path)) == len(FLOORS) - 1}
    assert lost == {"dtrain", "dtrain.__main__"}


def test_names_in_strings_are_names_of_modules() -> None:
    """`sys.modules.get("dtrain.…")` and the like would find nothing, in silence, once a file has moved."""
    modules = {module_name(path) for path in source_files()} | {"dtrain.kernels._cpu", "dtrain.collectives._native"}
    tables_of_others = {"dtrain.base.module_names", "dtrain.base.names"}  # PyTorch's names, with what is behind them
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} names {node.value}"
        for path in source_files()
        if module_name(path) not in tables_of_others
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if re.fullmatch(r"dtrain(\.[a-z_]\w*)+", node.value)
        # A module, or something in one.
        and not {node.value, node.value.rpartition(".")[0]} & modules
    ]
    assert not wrong, "\n".join(wrong)


def test_what_a_node_does_besides_computing_is_asked_of_effects() -> None:
    facts = {"is_collective", "aliases", "aliases_of", "checks", "checks_values"}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} asks {ast.unparse(node)}"
        for path in source_files()
        if module_name(path) != "dtrain.graph.effects"
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr in facts
        if isinstance(node.value, ast.Attribute) and node.value.attr == "op" and ast.unparse(node.value) != "self.op"
    ]
    assert not wrong, "\n".join(wrong)


def test_kernels_know_nothing_of_who_calls_them() -> None:
    """Contracts and kernels include neither binding nor threads, but for names of types and the form of lists."""
    folder = ROOT / "kernels" / "cpu"
    headers = [path for path in folder.glob("*/*.h") if path.parent.name not in ("binding", "threads")]
    assert len(headers) > 20
    wrong = [
        f"{path.relative_to(ROOT)} includes {name}"
        for path in headers
        for name in re.findall(r'^#include "((?:binding|threads)/[^"]+)"', path.read_text(), re.MULTILINE)
        if name not in ("binding/element.h", "binding/kernel_list.h")
    ]
    assert not wrong, "\n".join(wrong)
