"""Which file of the package imports which: statements, also inside of functions, and imports by strings."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = ("kernels", "collectives", "launcher")


def module_name(path: Path) -> str:
    """The name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    name = ".".join(parts if parts[0] == "dtrain" else ("dtrain", *parts))
    return name.removesuffix(".__init__")


@cache
def source_files() -> list[Path]:
    """Every Python file of the package, each once."""
    links = {ROOT / "dtrain" / name for name in ROOMS}
    folders = [ROOT / name for name in ("dtrain", *ROOMS)]
    return [path for folder in folders for path in sorted(folder.rglob("*.py")) if not links & set(path.parents)]


@cache
def tree_of(path: Path) -> ast.Module:
    """What a file says, parsed once for all who ask."""
    return ast.parse(path.read_text())


@cache
def imports_of(path: Path, *, for_checkers: bool = False) -> list[tuple[int, str]]:
    """(line, what) of every import that runs: `dtrain.base.errors.expected`, or `dtrain.ops.*` for any module there.

    What stands under `if TYPE_CHECKING` does not run, and is added `for_checkers`. An import by a string that is made
    elsewhere counts as one of all modules that the file names in strings.
    """
    tree = tree_of(path)
    own = module_name(path)
    package = own if path.name == "__init__.py" else own.rpartition(".")[0]
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree) if for_checkers else _running(tree):
        if isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.Call) and _imports_by_string(node):
            found += [(node.lineno, name) for name in _by_string(node.args[0], tree, own)]
    return [(line, name) for line, name in found if name.partition(".")[0] == "dtrain"]


def import_graph() -> dict[str, set[str]]:
    """Module -> the modules that it imports. The root package, which every import runs, is left out."""
    files = {module_name(path): path for path in source_files()}
    compiled = {module_name(path): path for room in ROOMS for path in (ROOT / room).rglob("*.pyi")}
    modules = [*files, *compiled]  # the latter import nothing of ours
    return {name: set() for name in compiled} | {
        name: {other for _, imported in imports_of(path) for other in _modules(imported, modules)} - {name, "dtrain"}
        for name, path in files.items()
    }


def circles(graph: Mapping[str, set[str]]) -> list[set[str]]:
    """The sets of modules that each reach all others of their set (Tarjan, 1972)."""
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(name: str) -> None:
        index[name] = lowest[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], index[other])
        if lowest[name] == index[name]:
            place = stack.index(name)
            if len(stack) - place > 1:
                found.append(set(stack[place:]))
            del stack[place:]

    for name in graph:
        if name not in index:
            visit(name)
    return found


def _running(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in child.orelse:
                yield other
                yield from _running(other)
            continue
        yield child
        yield from _running(child)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1]
    return ".".join([*above, node.module] if node.module else above)


def _imports_by_string(node: ast.Call) -> bool:
    called = node.func
    name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
    return name in ("import_module", "__import__") and bool(node.args)


def _by_string(argument: ast.expr, tree: ast.AST, own: str) -> Sequence[str]:
    if isinstance(argument, ast.Constant):
        return [str(argument.value)]
    if isinstance(argument, ast.JoinedStr):
        text = ""
        for part in argument.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
            elif isinstance(part, ast.FormattedValue) and ast.unparse(part.value) == "__name__":
                text += own
            else:
                return [f"{text.rpartition('.')[0]}.*"]
        return [text]
    texts = {str(node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant)}
    return sorted(text for text in texts if text.startswith("dtrain.") and " " not in text)


def _modules(imported: str, modules: Sequence[str]) -> list[str]:
    """The modules behind `dtrain.base.errors.expected`: that file, where it is no module itself."""
    if imported.endswith(".*"):
        inside = imported.removesuffix("*")
        return [name for name in modules if name.startswith(inside) and "." not in name.removeprefix(inside)]
    while imported and imported not in modules:
        imported = imported.rpartition(".")[0]
    return [imported] if imported else []
