"""What the processes of `make test` print together, and that no file is in a lane where it harms others."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.helpers.bytecode import share_bytecode
from tests.helpers.lanes import claimed, in_turn, lane_of
from tests.whole import code_of_all, counts_of, failures_in, in_words, main

TESTS = Path(__file__).parent


def test_counts_are_those_of_the_last_line() -> None:
    output = "1 passed in a message\n== 2 failed, 21 passed, 3 skipped, 4 deselected, 1 warning, 2 errors in 0.1s ==\n"
    assert counts_of(output) == {"failed": 2, "passed": 21, "skipped": 3, "deselected": 4, "warning": 1, "error": 2}
    assert in_words(counts_of(output)) == "2 failed, 2 error, 21 passed, 3 skipped, 4 deselected, 1 warning"


def test_a_process_that_died_has_no_counts() -> None:
    assert in_words(counts_of("tests/a.py ...\nSegmentation fault")) == in_words(counts_of("")) == "no tests"


def test_failures_and_errors_are_found_in_the_summary() -> None:
    output = "FAILED tests/a.py::b - assert 0\nE  FAILED\nERROR tests/c.py\n"
    assert failures_in(output) == ["FAILED tests/a.py::b - assert 0", "ERROR tests/c.py"]


@pytest.mark.parametrize(
    ("codes", "whole"),
    [([0, 0, 5], 0), ([5, 5, 5], 5), ([0, 1, 0], 1), ([1, 3, 0], 3), ([0, -11, 0], -11), ([0, 5, 2], 2)],
)
def test_a_process_that_did_not_end_well_is_the_end_of_the_whole(codes: list[int], whole: int) -> None:
    assert code_of_all(codes) == whole


@pytest.mark.parametrize(
    ("file", "lane"),
    [
        ("base/test_dtype.py", "beside"),
        ("end_to_end/test_digits.py", "ranks"),
        ("launcher/test_cli.py", "ranks"),
        ("launcher/backends/test_srun.py", "ranks"),
        ("launcher/job/test_judge.py", "beside"),
        ("launcher/test_job.py", "alone"),
        ("faults/test_fault_matrix.py", "alone"),
    ],
)
def test_lanes(file: str, lane: str) -> None:
    assert lane_of(TESTS / file) == lane


def test_a_mark_within_a_file_does_not_move_it() -> None:
    """`alone` is read from the file's own line: on one test it would be silently without effect."""
    decorated = re.compile(r"^\s*@pytest\.mark\.alone", re.MULTILINE)
    assert not [path for path in TESTS.rglob("test_*.py") if decorated.search(path.read_text(encoding="utf-8"))]


class Item(NamedTuple):
    path: Path
    name: str


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    """Two tests of each of five files; those of a, b and d start ranks."""
    for letter in "abcde":
        starts = letter in "abd"
        (tmp_path / f"test_{letter}.py").write_text("@pytest.mark.distributed\n" if starts else "pass\n")
    return [Item(tmp_path / f"test_{letter}.py", letter + number) for letter in "abcde" for number in "12"]


def test_a_process_helps_when_it_is_through(items: list[Item]) -> None:
    assert [item.name for item in in_turn(items, ("beside", "ranks"))] == [
        "c1",
        "c2",
        "e1",
        "e2",
        "d1",
        "d2",
        "b1",
        "b2",
        "a1",
        "a2",
    ]


def test_processes_that_share_a_lane_run_each_file_once_and_whole(items: list[Item], tmp_path: Path) -> None:
    helper = claimed(in_turn(items, ("beside", "ranks")), tmp_path)
    ranks = claimed(in_turn(items, ("ranks",)), tmp_path)
    seen = [next(ranks).name, *(next(helper).name for _ in range(5)), next(ranks).name]
    assert seen == ["a1", "c1", "c2", "e1", "e2", "d1", "a2"]
    assert [item.name for item in ranks] == ["b1", "b2"]
    assert [item.name for item in helper] == ["d2"]


def test_the_last_line_has_the_counts_of_all_processes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "test_both.py"
    mark = "import pytest\npytestmark = pytest.mark.alone\n"
    file.write_text(mark + "def test_holds():\n    pass\n\ndef test_fails():\n    assert False\n")
    options = [f"--rootdir={tmp_path}", f"--confcutdir={tmp_path}", "-p", "tests.conftest", "-p", "no:warnings"]
    assert main([*options, str(file)]) == 1
    lines = capfd.readouterr().out.strip().splitlines()
    assert re.fullmatch(r"1 failed, 1 passed in [\d.]+s \(0:\d\d\)", lines[-1]), lines[-1]
    by_process = [
        "beside: no tests; exit code 5",
        "ranks: no tests; exit code 5",
        "ranks, too: no tests; exit code 5",
        "alone: 1 failed, 1 passed; exit code 1",
    ]
    assert lines[-5:-1] == by_process
    assert lines[-6].startswith("FAILED ") and "test_fails" in lines[-6]


def test_the_folder_of_claims_is_not_taken_for_tests(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--ignore-glob=*/test_*"]) == 5
    assert capfd.readouterr().out.count("no tests; exit code 5") == 4


def test_processes_of_tests_share_bytecode(tmp_path: Path) -> None:
    """One writes it, and others find it; beside the sources nothing appears, which was asked for."""
    sources, bytecode = tmp_path / "sources", tmp_path / "bytecode"
    sources.mkdir()
    (sources / "module.py").write_text("")
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(sources)}
    env.pop("PYTHONPYCACHEPREFIX", None)
    assert share_bytecode(env, bytecode)
    program = "import module; print(module.__cached__)"
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).is_relative_to(bytecode) and Path(done.stdout.strip()).exists()
    assert [path.name for path in sources.iterdir()] == ["module.py"]


@pytest.mark.parametrize("given", [{}, {"PYTHONDONTWRITEBYTECODE": ""}, {"PYTHONPYCACHEPREFIX": "/there"}])
def test_bytecode_goes_where_it_went(given: dict[str, str], tmp_path: Path) -> None:
    env = dict(given)
    assert not share_bytecode(env, tmp_path) and env == given
