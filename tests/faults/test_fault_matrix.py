"""Cells of the fault matrix, run: the end in time, the code, the rank, its words; no orphan, no file left.

Each cell of `make test-faults` leaves a line of JSON in build/fault_matrix.jsonl: its name, its exit code, the seconds
from the fault to the end, the limit, and how much slower than on a machine of its own it was allowed to be.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.faults.matrix import FAULTS, STANDS_STILL, Cell, all_cells, chosen, of_slurm, sample, whole
from tests.helpers.hosts import short_folder
from tests.helpers.ray_nodes import head_flags, ray_node, require_ray
from tests.helpers.run_ranks import mpi_environment, require_mpi
from tests.helpers.slurm_cluster import SlurmCluster, make_slurm

pytestmark = pytest.mark.alone

SCRIPT = str(Path(__file__).with_name("training.py"))
SIZE = 2
TIMEOUT = 4.0  # of the job, and of a collective, where a rank stands still
LIMIT = 2.0
THEIR_LIMIT = 5.0  # where Ray, Slurm, or mpirun alone, ends the processes
EVERYTHING = os.environ.get("FAULTS_EVERYTHING", "")
RECORD = Path(__file__).parents[2] / "build" / "fault_matrix.jsonl"
CELLS: Counter[str] = Counter()
MPIRUN_ITSELF: Counter[str] = Counter()  # how often mpirun alone crashed, or hung with all ranks gone
CRASHES = (-signal.SIGSEGV, -signal.SIGABRT)
SLOWEST: dict[str, tuple[float, Cell]] = {}


@pytest.fixture(scope="module", autouse=True)
def counts():
    yield
    print(f"\nfault matrix: {sum(CELLS.values())} cells ran:", dict(CELLS), f"of {len(all_cells())} in the product")
    if MPIRUN_ITSELF:
        print("  mpirun itself, alone:", dict(MPIRUN_ITSELF))
    for starter, (seconds, cell) in SLOWEST.items():
        print(f"  {starter}: at most {seconds:.2f} s from the fault to the end ({cell})")


@pytest.fixture(scope="module")
def ray_cluster(tmp_path_factory):
    """For the product: one Ray that all cells under Ray join, as on a cluster; a Ray for each is hours of starting."""
    if not EVERYTHING:
        yield ""
        return
    require_ray()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("ray") / "log"
    with (
        short_folder("ray-") as folder,
        ray_node(log, ["--num-cpus=4", *head_flags(port, folder)], mpi_environment(), "127.0.0.1"),
    ):
        yield f"127.0.0.1:{port}"


@pytest.fixture(scope="module")
def slurm():
    with make_slurm() as cluster:
        yield cluster


def command_of(cell: Cell, folder: Path, ray_address: str) -> list[str]:
    culprit = SIZE - 1 if cell.is_last else 0
    mode = "alone" if cell.starter == "local" else "ranks"
    script = [SCRIPT, cell.fault, cell.phase, str(culprit), str(folder), mode]
    if cell.is_heavy:
        script.append("write" if cell.starter == "bare mpirun" else "print")
    if cell.starter == "bare mpirun":
        return [require_mpi(), "-np", str(SIZE), "--map-by", ":OVERSUBSCRIBE", sys.executable, *script]
    flags = ["-np", str(SIZE), "--launcher", cell.starter, "--quiet"]
    if cell.starter == "srun":
        flags += ["-N", "1"]  # one on each host
    if cell.fault in STANDS_STILL:
        flags += ["--timeout", str(TIMEOUT)]
    if cell.starter == "ray" and ray_address:
        flags += ["--address", ray_address]
    return [sys.executable, "-m", "dtrain.cli", "run", *flags, *script]


def check(cell: Cell, folder: Path, ray_address: str = "", slurm: SlurmCluster | None = None) -> None:
    if cell.starter != "local":
        require_mpi()
    if cell.starter == "ray":
        require_ray()
    scratch = folder / "tmp"
    scratch.mkdir()
    env = mpi_environment() | {"DTRAIN_COLLECTIVE_TIMEOUT": str(TIMEOUT)}
    env.pop("PYTHONFAULTHANDLER", None)
    if cell.starter != "ray":  # whose sockets need a short path
        env["TMPDIR"] = str(scratch)
    command = command_of(cell, folder, ray_address)
    if slurm is not None:
        command, env = slurm.command(*command), env | slurm.variables
    with open(folder / "out", "wb") as out, open(folder / "err", "wb") as err:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=err)
        try:
            code = process.wait(timeout=10 * slowness() if cell.may_break_mpirun else 60)
        except subprocess.TimeoutExpired:
            ranks_left = ranks_alive(folder)
            process.kill()
            process.wait()
            assert cell.may_break_mpirun and not ranks_left, f"{cell}: no end, {ranks_left} left\n{tail(folder)}"
            MPIRUN_ITSELF["hung"] += 1
            return
    if cell.may_break_mpirun and code in CRASHES:
        MPIRUN_ITSELF["crashed"] += 1
        check_nothing_left(cell, folder, scratch)
        return
    ended = time.time()
    assert (folder / "fault_at").exists(), f"{cell}: it ended before the fault, which is still to come\n{tail(folder)}"
    waited = ended - float((folder / "fault_at").read_text())
    limit = THEIR_LIMIT if cell.starter in ("ray", "srun", "bare mpirun") else LIMIT
    if cell.fault in STANDS_STILL or cell.code is None or cell.fault == "exit 0":
        limit += TIMEOUT
    note_time(cell, code, waited, limit)
    is_unheard = cell.may_be_killed_unheard and code == FAULTS["SIGKILL"][0]
    is_right = code == cell.code if cell.code is not None else code != 0
    assert is_right or is_unheard, f"{cell}: code {code}\n{tail(folder)}"
    assert waited < limit * slowness(), f"{cell}: {waited:.2f} s\n{tail(folder)}"
    words = FAULTS["SIGKILL" if is_unheard else cell.fault][1]
    check_words(cell, words, (folder / "err").read_text(errors="replace"), folder)
    check_nothing_left(cell, folder, scratch)
    CELLS[cell.starter] += 1


def note_time(cell: Cell, code: int, waited: float, limit: float) -> None:
    SLOWEST[cell.starter] = max(SLOWEST.get(cell.starter, (0.0, cell)), (waited, cell), key=lambda pair: pair[0])
    RECORD.parent.mkdir(exist_ok=True)
    line = {"cell": str(cell), "code": code, "seconds": round(waited, 3), "limit": limit, "slowness": slowness()}
    with RECORD.open("a") as record:
        record.write(json.dumps(line) + "\n")


def check_words(cell: Cell, words: str, err: str, folder: Path) -> None:
    if cell.starter == "bare mpirun" or not cell.code:
        return
    culprit = SIZE - 1 if cell.is_last else 0
    if cell.fault in STANDS_STILL:
        assert f"rank {culprit} stands at" in err, f"{cell}\n{tail(folder)}"
    else:
        assert f"dtrain: rank {culprit} of {SIZE} " in err, f"{cell}\n{tail(folder)}"
    if cell.fault != "exit 0":
        assert words in err, f"{cell}\n{tail(folder)}"
    if cell.has_traceback:
        assert "training.py" in err and "in main" in err, f"{cell}\n{tail(folder)}"


def check_nothing_left(cell: Cell, folder: Path, scratch: Path) -> None:
    assert list(folder.glob("pid.*")), f"{cell}: no rank came up"
    until = time.monotonic() + 1.0
    while alive := ranks_alive(folder):
        assert time.monotonic() < until, f"{cell}: processes {alive} are left"
        time.sleep(0.02)
    left = [path for path in scratch.rglob("*") if not path.is_dir()]
    # A bare mpirun that aborts leaves what it leaves; of a launched job nothing stays.
    assert cell.starter == "bare mpirun" or left == [], f"{cell}: {left}"


def ranks_alive(folder: Path) -> list[int]:
    return [pid for path in folder.glob("pid.*") if is_alive(pid := int(path.read_text()))]


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def slowness() -> float:
    """Seconds are those of a machine that is ours: where more processes than cores want to run, they count less."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def tail(folder: Path) -> str:
    return (folder / "err").read_bytes()[-4000:].decode(errors="replace")


@pytest.mark.distributed
@pytest.mark.parametrize("cell", sample(), ids=str)
def test_sampled_cell(cell, tmp_path):
    check(cell, tmp_path)


@pytest.mark.faults
@pytest.mark.distributed
@pytest.mark.parametrize("cell", chosen(EVERYTHING), ids=str)
def test_cell(cell, tmp_path, request):
    check(cell, tmp_path, request.getfixturevalue("ray_cluster") if cell.starter == "ray" else "")


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("cell", of_slurm(), ids=str)
def test_cell_under_slurm(cell, tmp_path, slurm):
    check(cell, tmp_path, slurm=slurm)
    slurm.empty()


def test_the_whole_holds_every_fault_in_every_phase():
    cells = {(cell.fault, cell.phase) for cell in all_cells() if cell.starter == "mpirun"}
    assert {(cell.fault, cell.phase) for cell in whole() if cell.starter == "mpirun"} == cells
    assert {cell.starter for cell in whole()} == {cell.starter for cell in all_cells()}
    for starter in ("mpirun", "local", "bare mpirun"):
        assert len({(cell.is_last, cell.is_heavy) for cell in whole() if cell.starter == starter}) == 4


def test_parts_of_the_product_hold_every_cell_once():
    parts = [cell for number in range(1, 8) for cell in chosen(f"{number}/7")]
    assert sorted(map(str, parts)) == sorted(map(str, all_cells())) == sorted(map(str, chosen("1")))
    assert chosen("") == whole()
    with pytest.raises(ValueError, match="got '8/7'"):
        chosen("8/7")
