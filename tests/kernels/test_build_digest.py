"""A compiled module that was made of other sources is refused, with what to run."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from dtrain.base.version import VERSION
from dtrain.kernels.build_digest import KERNEL_SOURCES, expect_current, source_digest

KERNELS = Path(__file__).parents[2] / "kernels"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The sources alone, as a tree has them."""
    shutil.copytree(KERNELS / "cpu", tmp_path / "cpu")
    shutil.copytree(KERNELS / "formula", tmp_path / "formula", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_the_module_that_is_built_tells_what_python_computes() -> None:
    module = pytest.importorskip("dtrain.kernels._cpu", reason="the compiled module is not built")
    assert module.source_digest == source_digest(KERNELS)
    assert module.version == VERSION
    expect_current(module, KERNELS)


@pytest.mark.parametrize(
    "name",
    ["softmax/kernels.inc", "softmax/bind.cpp", "binding/call.h", "binding/module.cpp", "new_family/kernels.inc"],
)
def test_what_the_table_depends_on_makes_another_digest(name: str, folder: Path) -> None:
    before = source_digest(folder)
    assert before == source_digest(KERNELS)
    (folder / "cpu" / name).parent.mkdir(exist_ok=True)
    with (folder / "cpu" / name).open("a") as file:
        file.write("// one line more\n")
    assert source_digest(folder) not in (before, None)
    (folder / "cpu" / name).unlink()
    assert (source_digest(folder) == before) is name.startswith("new")


def test_make_installs_anew_whatever_the_digest_is_of() -> None:
    """Otherwise a module is refused, and what the error advises does nothing."""
    dry = subprocess.run(["make", "-pn", "help"], cwd=KERNELS.parent, capture_output=True, text=True, check=True)
    [line] = [line for line in dry.stdout.splitlines() if line.startswith("SOURCES := ")]
    known = set(line.split()[2:])
    ours = {f"kernels/{path.relative_to(KERNELS)}" for pattern in KERNEL_SOURCES for path in KERNELS.glob(pattern)}
    assert ours
    assert ours <= known
    assert {f"collectives/native/{path.name}" for path in (KERNELS.parent / "collectives/native").iterdir()} <= known


def test_how_a_kernel_computes_is_no_part_of_it(folder: Path) -> None:
    (folder / "cpu" / "softmax" / "instances.cpp").write_text("")
    (folder / "cpu" / "binding" / "call.h~").write_text("what an editor leaves")
    assert source_digest(folder) == source_digest(KERNELS)


@pytest.mark.parametrize("facts", [{}, {"source_digest": "0" * 64, "version": VERSION}])
def test_a_module_of_other_sources_is_refused(facts: dict[str, str]) -> None:
    module = SimpleNamespace(__file__="/somewhere/_cpu.so", **facts)
    with pytest.raises(ImportError, match=r"compiled .* with the digest \w{12}, got /somewhere/_cpu.so .*make install"):
        expect_current(module, KERNELS)


def test_where_no_sources_are_versions_are_compared(tmp_path: Path) -> None:
    assert source_digest(tmp_path) is None
    expect_current(SimpleNamespace(__file__="_cpu.so", source_digest="0", version=VERSION), tmp_path)
    for facts in ({}, {"version": "0.0.1"}):
        with pytest.raises(ImportError, match=rf"of version {VERSION}, got .*pip install"):
            expect_current(SimpleNamespace(__file__="_cpu.so", **facts), tmp_path)


def test_a_stale_module_is_an_error_and_no_reason_for_slow_kernels() -> None:
    script = """
        import sys, types
        sys.modules["dtrain.kernels._cpu"] = stale = types.ModuleType("_cpu")
        stale.__file__, stale.source_digest = "_cpu.so", "of before"
        from dtrain.kernels import load
        try:
            load()
        except ImportError as error:
            print(error)
    """
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(script)]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "got _cpu.so with of before" in printed
