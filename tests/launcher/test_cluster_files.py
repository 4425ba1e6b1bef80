"""The files under cluster/: their placeholders are listed, nothing of one site is in them, and shells can read them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dtrain.launcher.command.flags import parse_run
from dtrain.launcher.plan.spec import read_hostfile

CLUSTER = Path(__file__).parents[2] / "cluster"
FILES = sorted(path.relative_to(CLUSTER) for path in CLUSTER.rglob("*") if path.is_file() and path.name != "README.md")
PLACEHOLDER = re.compile(r"<[A-Z_]+>")


def listed():
    rows = re.findall(r"^\| `([^`]+)` \|[^|]*\|([^|]*)\|$", (CLUSTER / "README.md").read_text(), re.MULTILINE)
    return {Path(name): set(PLACEHOLDER.findall(places)) for name, places in rows}


def test_every_file_is_listed():
    assert sorted(listed()) == FILES
    assert len(FILES) >= 5


@pytest.mark.parametrize("path", FILES, ids=str)
def test_placeholders_are_listed(path):
    found = set(PLACEHOLDER.findall((CLUSTER / path).read_text()))
    assert found == listed()[path]
    assert found


@pytest.mark.parametrize("path", FILES, ids=str)
def test_nothing_of_one_site(path):
    text = (CLUSTER / path).read_text()
    assert re.findall(r"/(?:home|work|root|scratch|opt)/\S+", text) == []
    assert re.findall(r"\b\d{1,3}(?:\.\d{1,3}){3}\b", text) == []


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".sbatch"], ids=str)
def test_batch_scripts_are_shell(path, tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("no bash to read the script with")
    filled = tmp_path / "job.sh"
    filled.write_text(PLACEHOLDER.sub("1", (CLUSTER / path).read_text()))
    subprocess.run(["bash", "-n", str(filled)], check=True, timeout=20)


def test_the_hostfile_reads(tmp_path):
    filled = tmp_path / "hosts"
    filled.write_text((CLUSTER / "hostfile.example").read_text().replace("<", "").replace(">", ""))
    assert [host.slots for host in read_hostfile(str(filled))] == [8, 8]


def test_the_commands_parse(tmp_path):
    hosts = tmp_path / "hosts"
    hosts.write_text("a slots=1\nb slots=1\n")
    job = re.search(r"command: \[dtrain, run, (.*)\]", (CLUSTER / "k8s" / "mpijob.yaml").read_text())
    arguments = job[1].replace("/etc/mpi/hostfile", str(hosts)).replace("<SCRIPT>", "train.py").split(", ")
    assert parse_run(arguments, {}).start_timeout == 300
    batch = re.search(r"exec dtrain run (.*)$", (CLUSTER / "slurm" / "train.sbatch").read_text(), re.MULTILINE)
    arguments = batch[1].replace('"$SLURM_NTASKS"', "4").replace('"logs/$SLURM_JOB_ID"', "logs").split()
    spec = parse_run(arguments, {})
    assert (spec.num_proc, spec.grace, spec.script) == (4, 90, "<SCRIPT>")


def test_srun_is_told_the_cores_of_a_rank_again():
    """Slurm's own `srun` reads --cpus-per-task of the batch script no more."""
    for path in FILES:
        for line in re.findall(r"^exec srun .*", (CLUSTER / path).read_text(), re.MULTILINE):
            assert '--cpus-per-task="$SLURM_CPUS_PER_TASK"' in line
