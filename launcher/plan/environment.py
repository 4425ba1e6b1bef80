"""Which of the launcher's variables the ranks get: all, but what belongs to this shell, another job, or nobody else.

A name that looks like a secret is not handed on unless `-x NAME` asks for it, and the start screen says so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from dtrain.base.errors import expected
from dtrain.base.rank_info import ENVIRONMENTS
from dtrain.launcher.plan.spec import UsageError

_SECRET = re.compile(
    r"(^|_)(SECRET|TOKEN|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|API_?KEY|ACCESS_KEY|PRIVATE_KEY|AUTH)(_|$|\d)", re.I
)
# Of this shell or this host: right for processes that inherit it here, wrong on another machine.
_OF_THIS_HOST = re.compile(
    r"(_|PWD|SHLVL|HOME|USER|LOGNAME|SHELL|TERM|HOSTNAME|DISPLAY|XAUTHORITY|TMPDIR|MAIL|SSH_.*|XDG_.*|DBUS_.*|LS_COLORS|"
    r"CUDA_VISIBLE_DEVICES|NVIDIA_VISIBLE_DEVICES|SLURM_.*|PBS_.*|LSB_.*|KUBERNETES_.*)"
)
# A rank that starts a job of its own must not pass its own place on; settings of MPI itself stay.
_OF_ANOTHER_JOB = re.compile(
    r"(PMIX_|PMI_|PRTE_LAUNCHED|OMPI_(?!MCA_|ALLOW_)|OMPI_MCA_(?:ess|orte|num_procs|initial)).*"
)
_RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray gives it to what a submitted job starts
_OURS = ("DTRAIN_CONTROL_ADDRESS", "DTRAIN_JOB_TOKEN", "DTRAIN_JOB_ID", "DTRAIN_HOST", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True, slots=True)
class RankVariables:
    """`inherited` by every rank's process, `given` by -x and --env-file, and names held back as `secret`."""

    inherited: dict[str, str]
    given: dict[str, str]
    secret: tuple[str, ...]

    @property
    def all(self) -> dict[str, str]:
        return self.inherited | self.given

    @property
    def exported(self) -> list[str]:
        """Names to carry to other hosts."""
        return sorted(name for name in self.all if name in self.given or _OF_THIS_HOST.fullmatch(name) is None)


def rank_variables(env: Mapping[str, str], asked: Mapping[str, str | None]) -> RankVariables:
    """Sort the launcher's environment. Raises `UsageError` for `-x NAME` of a variable that is not set."""
    given = {}
    for name, value in asked.items():
        if value is None and name not in env:
            raise UsageError(expected(f"-x {name}", "a variable that is set here", "none", f"write -x {name}=value"))
        given[name] = env[name] if value is None else value
    of_jobs = {name for row in ENVIRONMENTS if row.source != "slurm" for name in row.names} | set(_OURS)
    kept = {
        name: value
        for name, value in env.items()
        if name not in of_jobs
        and name != "OLDPWD"
        and not _is_shell_function(name, value)
        and _OF_ANOTHER_JOB.fullmatch(name) is None
        and not (name == "OMP_NUM_THREADS" and _is_set_by_ray(env))
    }
    secret = tuple(sorted(name for name in kept if _SECRET.search(name) and name not in given))
    return RankVariables({name: value for name, value in kept.items() if name not in secret}, given, secret)


def _is_set_by_ray(env: Mapping[str, str]) -> bool:
    """Under `ray job submit`, Ray sets OMP_NUM_THREADS by itself, unless the job's runtime environment does."""
    try:
        job = json.loads(env.get(_RAY_JOB, ""))
        return "OMP_NUM_THREADS" not in (job["runtime_env"].get("env_vars") or {})
    except (ValueError, KeyError, TypeError, AttributeError):
        return False


def _is_shell_function(name: str, value: str) -> bool:
    return name.startswith("BASH_FUNC_") or value.startswith("() {")
