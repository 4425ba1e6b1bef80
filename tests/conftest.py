"""What every test needs before NumPy is imported: one BLAS thread, since ranks share the cores."""

from __future__ import annotations

import gc
import os
import tempfile
from itertools import chain, pairwise
from pathlib import Path

import pytest

from tests.helpers.bytecode import share_bytecode
from tests.helpers.lanes import LANES, claimed, in_turn, lane_of

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--lane",
        action="append",
        choices=LANES,
        help="only the files of this lane, then of a further one: tests/helpers/lanes.py",
    )
    parser.addoption("--claims", type=Path, help="a folder where processes that share lanes claim files")


def pytest_configure(config: pytest.Config) -> None:
    bytecode = tempfile.TemporaryDirectory(prefix="dtrain-bytecode-")
    config.add_cleanup(bytecode.cleanup)
    share_bytecode(os.environ, Path(bytecode.name))  # of processes that tests start


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Files of other lanes are not even read."""
    lanes = config.getoption("lane")
    if lanes is None or not collection_path.name.startswith("test_") or collection_path.suffix != ".py":
        return None
    return None if lane_of(collection_path) in lanes else True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is in another lane goes, also where its file was named on the command line (which asks no `ignore`).

    The long fault tests run where somebody asks for them by their marker, `-m faults`.
    """
    lanes = config.getoption("lane")
    if lanes is not None:
        items[:] = in_turn(items, lanes)
    if "faults" in config.option.markexpr:
        return
    long = [item for item in items if item.get_closest_marker("faults")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def pytest_collection_finish() -> None:
    """What collecting has made stays until the end: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """The loop of pytest, over what is claimed on the way: it must know the item after the one that it runs."""
    folder = session.config.getoption("claims")
    options = session.config.option
    has_failed = session.testsfailed and not options.continue_on_collection_errors
    if folder is None or has_failed or options.collectonly:
        return None
    for item, following in pairwise(chain(claimed(session.items, folder), [None])):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.shouldfail:
            raise session.Failed(session.shouldfail)
        if session.shouldstop:
            raise session.Interrupted(session.shouldstop)
    return True
