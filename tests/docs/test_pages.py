"""Pages of the site: every Python example runs, every command line parses, every link and picture is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import dtrain as dt
from dtrain import collectives as dist
from dtrain.cli import COMMANDS
from dtrain.launcher.command.flags import parse_run

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def identity(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=identity)
def test_the_examples_of_a_page_run_one_after_another(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    kept = dt.default_generator().state_dict()
    namespace: dict[str, object] = {"__name__": "page"}
    try:
        for number, block in enumerate(blocks(page, "python"), 1):
            exec(compile(block, f"{identity(page)}, example {number}", "exec"), namespace)
    finally:
        dist.finalize()
        dt.default_generator().load_state_dict(kept)


def test_there_are_examples_where_people_look_for_them():
    without = {page.stem for page in (DOCS / "guide").glob("*.md") if not blocks(page, "python")}
    assert without <= {"containers", "air-gapped"}


def command_lines() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for block in blocks(page, "console") + blocks(page, ""):
            for line in block.splitlines():
                command = line.partition("  #")[0].strip()
                if " dtrain run " in f" {command}":
                    command = command[command.index("dtrain run ") :]
                if command.startswith("dtrain "):
                    found.append((identity(page), command))
    return found


@pytest.mark.parametrize(("page", "command"), command_lines())
def test_the_command_lines_of_a_page_parse(page, command):
    _, name, *arguments = shlex.split(command)
    assert name in COMMANDS
    if name == "run":
        parse_run(arguments, {})


def test_links_lead_to_files():
    made = (DOCS / "generate.py").read_text(encoding="utf-8")
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
            if "://" in target:
                continue
            path = (page.parent / target).resolve()
            is_made = path.parent == DOCS / "reference" and f'"reference/{path.name}"' in made
            assert path.exists() or is_made, f"{identity(page)}: {target}"
