"""`dtrain bench all_reduce` over two hosts, which are network namespaces with a shaped link: the share of its rate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.hosts import Site, inside

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.distributed]
RATE = 400_000_000  # bits a second, as tc shapes both directions


@pytest.fixture
def shaped(site: Site) -> Site:
    """Every host sends at this rate."""
    for name in site.hosts.values():
        card = "$(ip -o -4 addr show scope global | awk '{print $2; exit}')"
        shape = f"tc qdisc replace dev {card} root tbf rate 400mbit burst 256kb latency 50ms"
        done = subprocess.run(
            [*inside(name), "sh", "-c", shape], capture_output=True, text=True, timeout=20, check=False
        )
        if done.returncode != 0:
            pytest.skip(f"tc shapes no link here: {done.stderr.strip()}")
    return site


@pytest.mark.parametrize("way", ["-H", "--hostfile"])
def test_the_share_of_the_link(shaped: Site, tmp_path: Path, way: str) -> None:
    agent = shaped.write_agent(tmp_path / "agent")
    where = ",".join(f"{address}:1" for address in shaped.hosts)
    if way == "--hostfile":
        (tmp_path / "hosts").write_text("".join(f"{address} slots=1\n" for address in shaped.hosts))
        where = str(tmp_path / "hosts")
    flags = [way, where, f"--mpi-args=--prtemca plm_ssh_agent {agent} {shaped.mpi_args}"]
    sizes = ["-b", "1K", "-e", "4M", "-f", "64", "-n", "5", "-w", "1", "--link-rate", "400Mbit"]
    command = [sys.executable, "-m", "dtrain", "bench", "all_reduce", *flags, *sizes, "-J", str(tmp_path / "out.json")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["ranks"] == 2 and sorted(found["hosts"]) == sorted(shaped.hosts.values())
    assert found["link"] == {"bytes_per_second": RATE / 8, "source": "--link-rate"}
    assert found["num_wrong"] == 0
    largest = max(found["rows"], key=lambda row: row["nbytes"])
    assert 0.3 < largest["link_fraction"] <= 1.1, "a burst of the shaper may come on top"
    assert "%link" in done.stdout and "# link between hosts: 0.050 GB/s (--link-rate)" in done.stdout
