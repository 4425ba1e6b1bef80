"""Which variables the ranks get."""

from __future__ import annotations

import pytest

from dtrain.launcher.plan.environment import rank_variables
from dtrain.launcher.plan.spec import UsageError

SHELL = {
    "PATH": "/bin",
    "HOME": "/home/u",
    "OLDPWD": "/",
    "BASH_FUNC_ll%%": "() {  ls\n}",
    "oldfunc": "() { :; }",
    "NCCL_DEBUG": "INFO",
    "CUDA_VISIBLE_DEVICES": "1",
    "OMPI_MCA_pml": "ob1",
}


def test_what_is_never_forwarded():
    variables = rank_variables(SHELL, {})
    assert set(variables.all) == {"PATH", "HOME", "NCCL_DEBUG", "CUDA_VISIBLE_DEVICES", "OMPI_MCA_pml"}
    assert variables.secret == ()


def test_what_stays_on_this_host():
    assert rank_variables(SHELL, {}).exported == ["NCCL_DEBUG", "OMPI_MCA_pml", "PATH"]
    assert "HOME" in rank_variables(SHELL, {"HOME": None}).exported


@pytest.mark.parametrize(
    "name",
    [
        "AWS_SECRET_ACCESS_KEY",
        "HF_TOKEN",
        "WANDB_API_KEY",
        "DB_PASSWORD",
        "GOOGLE_CREDENTIALS",
        "token",
        "SSH_PRIVATE_KEY",
    ],
)
def test_secrets_need_to_be_asked_for(name):
    held = rank_variables({name: "s3cret"}, {})
    assert held.all == {}
    assert held.secret == (name,)
    asked = rank_variables({name: "s3cret"}, {name: None})
    assert asked.all == {name: "s3cret"}
    assert asked.secret == ()


@pytest.mark.parametrize("name", ["TOKENIZERS_PARALLELISM", "KEYBOARD", "AUTHOR", "MONKEY"])
def test_names_that_only_look_alike_pass(name):
    assert rank_variables({name: "1"}, {}).all == {name: "1"}


def test_another_jobs_place_is_not_passed_on():
    env = {
        "RANK": "1",
        "WORLD_SIZE": "2",
        "DTRAIN_RANK": "1",
        "DTRAIN_CONTROL_ADDRESS": "h:1",
        "DTRAIN_JOB_TOKEN": "t",
        "OMPI_COMM_WORLD_RANK": "1",
        "PMIX_NAMESPACE": "n",
        "PMI_RANK": "1",
        "OMPI_MCA_ess_base": "x",
        "SLURM_JOB_ID": "9",
    }
    variables = rank_variables(env, {})
    assert variables.all == {"SLURM_JOB_ID": "9"}
    assert variables.secret == ()


def test_given_values():
    variables = rank_variables({"A": "1", "B": "2"}, {"A": "9", "B": None})
    assert variables.given == {"A": "9", "B": "2"}
    assert variables.all == {"A": "9", "B": "2"}
    with pytest.raises(UsageError, match=r"-x C: expected a variable that is set here, got none; write -x C=value"):
        rank_variables({}, {"C": None})


@pytest.mark.parametrize(
    ("job", "kept"),
    [
        (None, True),
        ('{"runtime_env": {}}', False),
        ('{"runtime_env": {"env_vars": {"A": "1"}}}', False),
        ('{"runtime_env": {"env_vars": {"OMP_NUM_THREADS": "3"}}}', True),
        ("[]", True),
        ("nonsense", True),
    ],
)
def test_the_thread_count_that_ray_sets_is_not_the_users(job, kept):
    env = {"OMP_NUM_THREADS": "3"} | ({} if job is None else {"RAY_JOB_CONFIG_JSON_ENV_VAR": job})
    assert ("OMP_NUM_THREADS" in rank_variables(env, {}).all) is kept
    assert rank_variables(env, {"OMP_NUM_THREADS": None}).given == {"OMP_NUM_THREADS": "3"}
