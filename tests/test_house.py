"""The house rules that a program can hold: floors, file sizes, links."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# From the ground up. A file may import its own floor and those before it.
FLOORS = (
    ("dtrain.base",),
    ("dtrain.control",),
    ("dtrain.kernels",),
    ("dtrain.graph",),
    ("dtrain.runtime", "dtrain.core", "dtrain.autograd", "dtrain.capture"),
    ("dtrain.ops", "dtrain.functional"),
    ("dtrain.nn", "dtrain.optim", "dtrain.passes", "dtrain.data", "dtrain.checkpoint"),
    ("dtrain.models",),
    ("dtrain.collectives",),
    ("dtrain.bench",),
    ("dtrain.explain",),
)
# The lower storey of the collectives knows arrays only; everything else of the room is its upper storey.
LOWER_STOREY = ("communicator", "programs", "memory", "transports", "world")
LOWER_STOREY_MAY_IMPORT = (
    "dtrain.base", "dtrain.control", "dtrain.kernels", "dtrain.collectives._native",
    *(f"dtrain.collectives.{folder}." for folder in LOWER_STOREY),
)  # fmt: skip
LAUNCHER_MAY_IMPORT = ("dtrain.base", "dtrain.control", "dtrain.launcher")
MAX_LINES = {".py": 400, ".cpp": 500, ".h": 500, ".cu": 500, ".inc": 500}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts if parts[0] == "dtrain" else ("dtrain", *parts))
    return name.removesuffix(".__init__")


def source_files() -> list[Path]:
    folders = [ROOT / name for name in ("dtrain", "kernels", "collectives", "launcher")]
    links = {ROOT / "dtrain" / name for name in ("kernels", "collectives", "launcher")}
    return [path for folder in folders for path in sorted(folder.rglob("*.py")) if not links & set(path.parents)]


def imports_of(path: Path) -> list[tuple[int, str]]:
    """(line, module) of every import that runs, those for type checkers left out."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
    return [(line, name) for line, name in found if name.partition(".")[0] == "dtrain"]


def floor_of(module: str) -> int | None:
    for number, names in enumerate(FLOORS):
        if any(module == name or module.startswith(name + ".") for name in names):
            return number
    return None


def test_imports_only_go_down() -> None:
    wrong = []
    for path in source_files():
        mine = module_name(path)
        floor = floor_of(mine)
        if floor is None:
            continue
        for line, name in imports_of(path):
            other = floor_of(name)
            if other is not None and other > floor:
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


def test_the_launcher_imports_only_base_and_control() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted((ROOT / "launcher").rglob("*.py"))
        for line, name in imports_of(path)
        if not name.startswith(LAUNCHER_MAY_IMPORT)
    ]
    assert not wrong, "\n".join(wrong)


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
        if path.read_text().strip() and ast.get_docstring(ast.parse(path.read_text())) is None
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
