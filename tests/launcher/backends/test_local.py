"""Plain processes of this machine, started one by one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from dtrain.launcher.backends.local import LocalBackend
from dtrain.launcher.backends.processes import StartedProcesses
from dtrain.launcher.command.flags import parse_run
from dtrain.launcher.job.signals import SignalWhileStarting
from dtrain.launcher.plan.environment import rank_variables
from dtrain.launcher.plan.launch_plan import Machine


def test_a_signal_while_many_are_started_ends_those_that_run(monkeypatch):
    machine = Machine(host="here", cores=(0,), num_cores=1, devices=(), python=sys.executable, is_root=False)
    spec = parse_run(["--launcher", "local", "-np", "1000", "train.py"], {})
    backend = LocalBackend(spec)
    plan = backend.plan(spec, machine, rank_variables({"PATH": "/bin"}, {}))
    made = []
    add = StartedProcesses.add

    def add_some(self, argv, env, *, stdin):
        if len(made) == 3:
            raise SignalWhileStarting
        add(self, ["sleep", "60"], env, stdin=subprocess.DEVNULL)
        made.append(self)

    monkeypatch.setattr(StartedProcesses, "add", add_some)
    with pytest.raises(SignalWhileStarting):
        backend.start(plan, {})
    [started] = set(made)
    assert [process.wait(5) for process in started._processes] == [-9] * 3
