"""The start screen and --plan-only as text."""

from __future__ import annotations

import io

from dtrain.launcher.backends.table import make_plan
from dtrain.launcher.command.flags import parse_run
from dtrain.launcher.plan.environment import rank_variables
from dtrain.launcher.plan.launch_plan import Machine
from dtrain.launcher.plan.screen import MAX_ROWS, show_plan, show_start

MACHINE = Machine(host="here", cores=(0, 1, 2, 3), num_cores=4, devices=("0",), python="python", is_root=False)


def plan_of(*arguments, env=None):
    spec = parse_run([*arguments, "--launcher", "local", "train.py"], {})
    return make_plan(spec, MACHINE, rank_variables(env or {"PATH": "/bin"}, spec.environment))[1]


def shown(show, *arguments):
    sink = io.StringIO()
    show(*arguments, sink)
    return [line.rstrip() for line in sink.getvalue().splitlines()]


def test_start():
    plan = plan_of("-np", "2")
    assert shown(show_start, plan, plan.ranks) == [
        "dtrain: 2 ranks by local (asked for)",
        "rank  host  node  local  cores  threads  device  pid",
        "   0  here     0    0/2  0-3          2  cuda:0    -",
        "   1  here     0    1/2  0-3          2  cpu       -",
        "threads per rank: 2 (cores of the affinity mask / ranks sharing them)",
    ]


def test_plan():
    lines = shown(show_plan, plan_of("-np", "2", "-x", "A=b c"))
    assert lines[5:8] == [
        "environment:",
        "  A='b c'",
        "  DTRAIN_CONTROL_ADDRESS DTRAIN_JOB_ID DTRAIN_JOB_TOKEN (set at the start)",
    ]
    assert lines[8] == "commands:"
    assert lines[9].startswith("  DTRAIN_RANK=0 DTRAIN_WORLD_SIZE=2 python ")
    assert lines[10].endswith("rank_main.py train.py")


def test_threads_the_user_set():
    plan = plan_of("-np", "2", env={"OMP_NUM_THREADS": "3"})
    assert "threads per rank: as you set them (OMP_NUM_THREADS=3)" in shown(show_start, plan, plan.ranks)


def test_secrets_and_crowds_are_noted():
    plan = plan_of("-np", "5", env={"HF_TOKEN": "s3cret"})
    lines = shown(show_start, plan, plan.ranks)
    assert "note: 5 ranks share 4 cores of here: they will take turns" in lines
    assert "note: not given to the ranks, as they look like secrets: HF_TOKEN (-x NAME gives one)" in lines
    assert not [line for line in lines if "s3cret" in line]


def test_long_tables_are_cut():
    plan = plan_of("-np", str(MAX_ROWS + 3))
    lines = shown(show_start, plan, plan.ranks)
    assert "… and 3 more" in lines
    assert len([line for line in lines if "  here  " in line]) == MAX_ROWS
