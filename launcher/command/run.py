"""`dtrain run`: from a command line to a job's exit code."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dtrain.base.errors import expected
from dtrain.launcher.backends.table import make_plan, within_allocation
from dtrain.launcher.command.flags import parse_run
from dtrain.launcher.command.misplaced import misplaced_program, near_script
from dtrain.launcher.command.module_file import problem_of_module
from dtrain.launcher.job.job import run_job
from dtrain.launcher.plan.allocation import refuse_several_launchers
from dtrain.launcher.plan.environment import rank_variables
from dtrain.launcher.plan.launch_plan import Machine
from dtrain.launcher.plan.screen import Words, show_plan
from dtrain.launcher.plan.spec import LaunchSpec, UsageError


def run(arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Carry out `dtrain run`. Raises `UsageError` (exit code 2) and `LaunchError` (125)."""
    return launch(parse_run(arguments, env), env)


def launch(spec: LaunchSpec, env: Mapping[str, str]) -> int:
    """Plan a job and run it, or only show the plan."""
    refuse_several_launchers(env)
    spec = within_allocation(spec, env)
    variables = rank_variables(env, spec.environment or {})
    _check_script(spec)
    backend, plan = make_plan(spec, Machine.here(env), variables)
    if spec.plan_only:
        words = Words(is_terminal=sys.stdout.isatty())
        show_plan(plan, words)
        sys.stdout.write(words.getvalue())  # rich would end the process where nobody reads
        return 0
    return run_job(plan, spec, backend)


def _check_script(spec: LaunchSpec) -> None:
    """A script that is not there is better said once, here, than by every rank."""
    if spec.as_module:
        problem = problem_of_module(spec.script)
        if problem:
            raise UsageError(expected("dtrain run -m", "a module that can be run", repr(spec.script), problem))
        return
    advice = misplaced_program(spec.script, spec.arguments)
    if advice:
        raise UsageError(expected("dtrain run", "a script", repr(spec.script), advice))
    # A stream of this process is another one, or none, in every rank, and could be read once only.
    script = Path(spec.script).absolute()
    is_stream = script.parts[1:2] in (("dev",), ("proc",)) and script.parts[1:3] != ("dev", "shm")
    if is_stream or (script.exists() and not script.is_file() and not script.is_dir()):
        given = f"{spec.script!r}, which only one process can read"
        raise UsageError(expected("dtrain run", "a script file", given, "write the script to a file"))
    if not script.exists():
        given = f"{spec.script!r}, which does not exist"
        raise UsageError(expected("dtrain run", "a script file", given, near_script(spec.script)))
    if script.is_dir() and not (script / "__main__.py").exists():
        given = f"the folder {spec.script!r} without a __main__.py"
        raise UsageError(expected("dtrain run", "a script file", given, "name the script in it"))
