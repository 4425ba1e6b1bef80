"""Pages that are made of the product when the site is built: environment variables, exit codes, flags, the API.

mkdocs calls the two `on_…` functions (see `hooks` in mkdocs.yml); the tests call `pages()`. Nothing made here is
committed, so that nothing can be out of date.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from dtrain import events
from dtrain.base.environment_variables import ENVIRONMENT_VARIABLES
from dtrain.base.rank_info import ENVIRONMENTS
from dtrain.control.exit_codes import EXIT_CODES
from dtrain.launcher.command.flags import FLAGS, Flag

DOCS = Path(__file__).parent

# Namespace -> what it is for. A page each, with every public name.
NAMESPACES = {
    "dtrain": "Tensors, gradients, traces, random numbers.",
    "dtrain.functional": "Functions of tensors; all have gradients where that makes sense, and all can be traced.",
    "dtrain.nn": "Modules.",
    "dtrain.optim": "Optimizers, learning-rate schedules, clipping.",
    "dtrain.data": "Datasets and loaders.",
    "dtrain.checkpoint": "Saving and resuming.",
    "dtrain.models": "Models that come with dtrain.",
    "dtrain.collectives": "Ranks: the world, collectives, data parallelism, sync-BN.",
    "dtrain.cuda": "The questions that scripts ask of GPUs.",
    "dtrain.amp": "Mixed precision that is switched off.",
    "dtrain.backends": "Switches that scripts set.",
    "dtrain.testing": "Tensors compared in tests.",
    "dtrain.events": "What happens in a job, as typed events.",
    "dtrain.passes": "The passes that rewrite traced graphs.",
}
OWNERS = {
    "user": "Yours to set",
    "launcher": "Set by the launcher for each rank",
    "internal": "Set by dtrain for its own processes",
}


def pages() -> dict[str, str]:
    """Markdown by path below docs/."""
    made = {
        "reference/environment.md": environment_page(),
        "reference/events.md": events_page(),
        "reference/exit-codes.md": exit_codes_page(),
        "reference/flags.md": flags_page(),
    }
    return made | {api_path(namespace): api_page(namespace) for namespace in NAMESPACES}


def environment_page() -> str:
    """All variables, by who sets them; then what is read of other launchers."""
    parts = ["# Environment variables", "Every flag of `dtrain run` has a variable besides: see [flags](flags.md)."]
    for owner, title in OWNERS.items():
        rows = [(f"`{v.name}`", v.default, v.meaning) for v in ENVIRONMENT_VARIABLES if v.owner == owner]
        parts += [f"## {title}", table(("variable", "default", "meaning"), rows)]
    parts += [
        "## Read of other launchers",
        "The first row that is present says rank and size; later ones may fill in what it does not say.",
        table(
            ("launcher", "rank", "size", "rank on the host", "ranks on the host"),
            [(row.source, *map(names, (row.rank, row.size, row.local_rank, row.local_size))) for row in ENVIRONMENTS],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def events_page() -> str:
    """Every kind of event with its fields: the schema of a file of `--events`."""
    parts = [
        "# Events",
        inspect.cleandoc(events.__doc__ or ""),
        "A file holds a line of JSON an event: its kind as `event`, the `time` in seconds since the epoch, the `job`, "
        "the `rank` (null: the launcher's own), and the fields of the kind. Numbers that JSON does not have are texts "
        "(`nan`). `dtrain.events.read(file)` gives them back as records.",
    ]
    for kind, made in events.KINDS.items():
        rows = [(f"`{field.name}`", f"`{field.type}`") for field in fields(made)]
        parts += [f"## `{kind}`", f"`dtrain.events.{made.__name__}`: {inspect.cleandoc(made.__doc__ or '')}"]
        parts.append(table(("field", "type"), rows))
    return "\n\n".join(parts) + "\n"


def exit_codes_page() -> str:
    """What `dtrain run` ends with."""
    rows = [(f"`{row.code}`", row.meaning, row.what_to_do) for row in EXIT_CODES]
    return "# Exit codes\n\n" + table(("code", "meaning", "what to look at"), rows) + "\n"


def flags_page() -> str:
    """The flags of `dtrain run` with their variables."""
    rows = [(spellings(flag), f"`{flag.variable}`" if flag.name != "x" else "", flag.help) for flag in FLAGS]
    text = (
        "# Flags of `dtrain run`\n\n`dtrain run [flags] SCRIPT [script arguments]`, or `-m MODULE`. Dashes and "
        "underscores are the same; a variable stands for its flag where the command line does not give it.\n\n"
    )
    return text + table(("flag", "variable", "meaning"), rows) + "\n"


def spellings(flag: Flag) -> str:
    """As a user types them, with what follows."""
    value = "" if flag.convert is None else " " + (flag.metavar or "|".join(flag.choices))
    return ", ".join(f"`{text}{value}`" for text in [*flag.also, f"--{flag.name}"] if text != "-x" or flag.name == "x")


def api_path(namespace: str) -> str:
    """The page of a namespace."""
    return f"reference/api/{namespace}.md"


def api_page(namespace: str) -> str:
    """Every public function and class, in alphabetical order; then what is neither, in one table."""
    module = import_module(namespace)
    parts = [f"# `{namespace}`", NAMESPACES[namespace]]
    values = []
    for name in public_names(module):
        member = getattr(module, name)
        home = home_of(member)
        if home != namespace:
            parts.append(f"### `{name}`\n\nSee [`{home}`]({home}.md).")
        elif not (inspect.isfunction(member) or inspect.isclass(member)):
            values.append((f"`{name}`", f"`{member!r}`"))
        elif is_defined(member):
            parts.append(f"::: {member.__module__}.{member.__qualname__}")
        else:
            parts.append(f"### `{name}{inspect.signature(member)}`\n\n{inspect.getdoc(member) or ''}")
    if values:
        parts += ["## Values", table(("name", "value"), values)]
    return "\n\n".join(parts) + "\n"


def public_names(module: ModuleType) -> list[str]:
    """What users may import from a namespace: no modules, nothing of other packages, each object once."""
    listed = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    found: dict[int, str] = {}
    for name in sorted(listed, key=lambda name: (name.lower(), name)):
        member = getattr(module, name)
        origin = getattr(member, "__module__", None) or type(member).__module__
        if isinstance(member, ModuleType) or not origin.startswith("dtrain"):
            continue
        # An alias is another name of what stands under the name that it was defined with.
        if getattr(member, "__name__", name) == name or id(member) not in found:
            found[id(member)] = name
    return sorted(found.values(), key=lambda name: (name.lower(), name))


@cache
def public_ids(namespace: str) -> frozenset[int]:
    """Which objects a namespace has under public names."""
    module = import_module(namespace)
    return frozenset(id(getattr(module, name)) for name in public_names(module))


def home_of(member: Any) -> str:
    """The namespace whose page describes an object that several have: the one its module lies in, else the first."""
    having = [namespace for namespace in NAMESPACES if id(member) in public_ids(namespace)]
    origin = getattr(member, "__module__", None) or ""
    within = [namespace for namespace in having if namespace != "dtrain" and origin.startswith(namespace)]
    return (within or having)[0]


def is_defined(member: Any) -> bool:
    """Whether a def or class statement of its module makes it, which is where mkdocstrings looks."""
    return member.__qualname__ in statements_of(member.__module__)


@cache
def statements_of(module: str) -> frozenset[str]:
    """What the def and class statements of a module's file define."""
    tree = ast.parse(Path(inspect.getsourcefile(import_module(module)) or "").read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef))


def names(variables: tuple[str, ...]) -> str:
    """Variables, the first one set first."""
    return ", ".join(f"`{name}`" for name in variables)


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table; bars in cells are escaped."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


# What mkdocs calls ----------------------------------------------------------------------------------------------------


def on_config(config: Any) -> Any:
    """Put the made pages, and those that lie in folders as they are, into the navigation."""
    design = sorted(path.relative_to(DOCS).as_posix() for path in (DOCS / "design").glob("*.md"))
    reference = [path for path in pages() if not path.startswith("reference/api/")]
    api = [{namespace: api_path(namespace)} for namespace in NAMESPACES]
    config.nav = [*config.nav, {"Reference": reference}, {"API": api}, {"Design notes": design}]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Hand the made pages to mkdocs as if they lay in docs/."""
    from mkdocs.structure.files import File

    for path, content in pages().items():
        files.append(File.generated(config, path, content=content))
    return files
