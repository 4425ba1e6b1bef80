"""The hosts that cluster tests run on."""

from __future__ import annotations

import subprocess

import pytest
from helpers.hosts import inside, make_hosts

pytestmark = pytest.mark.cluster


def test_hosts_are_made_anew_while_a_process_of_the_last_ones_is_ending():
    for _ in range(3):
        with make_hosts(2) as site:
            name = next(iter(site.hosts.values()))
            process = subprocess.Popen([*inside(name), "sleep", "20"], stdout=subprocess.PIPE)
            while not _is_inside(process.pid, name):
                assert process.poll() is None
        with make_hosts(2):
            pass
        process.terminate()
        process.communicate()


def test_another_network_is_refused_and_leaves_the_first_one_alone():
    with make_hosts(2) as site:
        with pytest.raises(AssertionError, match="one network of hosts a process"), make_hosts(2):
            pass
        for name in site.hosts.values():
            assert subprocess.run([*inside(name), "true"], timeout=20).returncode == 0


def _is_inside(pid: int, name: str) -> bool:
    seen = subprocess.run(["ip", "netns", "identify", str(pid)], capture_output=True, text=True, timeout=20)
    return seen.stdout.strip() == name
