"""The command line: every flag, every spelling, its mirror in the environment, and what is refused."""

from __future__ import annotations

import pytest

from dtrain.base.flag_names import FLAGS as PEERS_FLAGS
from dtrain.launcher.backends.table import BACKENDS
from dtrain.launcher.command.command_line import unknown_flag
from dtrain.launcher.command.flags import FLAGS, SPELLINGS, make_run_parser, parse_run
from dtrain.launcher.plan.spec import Host, UsageError


@pytest.fixture
def samples(tmp_path):
    """A text for each flag and the field it must fill."""
    hosts = tmp_path / "hosts"
    hosts.write_text("a slots=2\n")
    variables = tmp_path / "env"
    variables.write_text("A=1\n")
    return {
        "num-proc": ("2", "num_proc", 2),
        "nproc-per-node": ("2", "nproc_per_node", 2),
        "hosts": ("localhost:2", "hosts", (Host("localhost", 2),)),
        "hostfile": (str(hosts), "hosts", (Host("a", 2),)),
        "launcher": ("mpirun", "launcher", "mpirun"),
        "x": ("A=1", "environment", {"A": "1"}),
        "env-file": (str(variables), "environment", {"A": "1"}),
        "tag-output": (None, "tag_output", True),
        "no-tag": (None, "tag_output", False),
        "timestamp-output": (None, "timestamp_output", True),
        "log-dir": ("logs", "log_dir", "logs"),
        "events": ("job.jsonl", "events", "job.jsonl"),
        "timeout": ("2m", "timeout", 120.0),
        "start-timeout": ("5", "start_timeout", 5.0),
        "grace": ("0.5", "grace", 0.5),
        "plan-only": (None, "plan_only", True),
        "mpi-args": ("--bind-to core", "mpi_args", ("--bind-to", "core")),
        "quiet": (None, "quiet", True),
        "address": ("10.0.0.1:6379", "address", "10.0.0.1:6379"),
    }


def needs(flag):
    return ["--launcher", "ray"] if flag.name == "address" else []


def test_every_flag_has_a_sample(samples):
    assert [flag.name for flag in FLAGS] == list(samples)


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_every_spelling(flag, samples):
    text, field, value = samples[flag.name]
    for spelling in flag.spellings:
        given = [spelling] if text is None else [spelling, text]
        assert getattr(parse_run([*needs(flag), *given, "train.py"], {}), field) == value
        if text is not None and spelling.startswith("--"):
            assert getattr(parse_run([*needs(flag), f"{spelling}={text}", "train.py"], {}), field) == value


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.name != "x"], ids=lambda flag: flag.name)
def test_mirror_in_the_environment(flag, samples):
    text, field, value = samples[flag.name]
    env = {flag.variable: "1" if text is None else text}
    assert getattr(parse_run([*needs(flag), "train.py"], env), field) == value


def test_the_command_line_wins():
    assert parse_run(["-np", "3", "train.py"], {"DTRAIN_NUM_PROC": "2"}).num_proc == 3
    assert parse_run(["--no-tag", "train.py"], {"DTRAIN_TAG_OUTPUT": "1"}).tag_output is False
    assert parse_run(["train.py"], {"DTRAIN_QUIET": "0"}).quiet is False


def test_everything_after_the_script_is_its_own():
    spec = parse_run(["-np", "2", "train.py", "-np", "9", "--quiet", "--", "-x"], {})
    assert (spec.num_proc, spec.quiet) == (2, False)
    assert spec.arguments == ("-np", "9", "--quiet", "--", "-x")
    assert parse_run(["--", "train.py", "-q"], {}).arguments == ("-q",)
    assert parse_run(["-q", "train.py", "--", "-x"], {}).arguments == ("--", "-x")
    assert parse_run(["--", "-q"], {}).script == "-q"
    module = parse_run(["-np", "2", "-m", "package.train", "-m"], {})
    assert (module.script, module.as_module, module.arguments) == ("package.train", True, ("-m",))


@pytest.mark.parametrize(
    ("word", "field", "value"),
    [
        ("-n4", "num_proc", 4),
        ("-N2", "nproc_per_node", 2),
        ("-xA=1", "environment", {"A": "1"}),
        ("-np=3", "num_proc", 3),
    ],
)
def test_values_right_behind_a_flag(word, field, value):
    assert getattr(parse_run([word, "train.py"], {}), field) == value


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["-p", "2"], "unrecognized arguments: -p; did you mean -np?"),
        (["-host", "a:2"], "`--host a:2,b:2` of mpirun is `-H a:2,b:2` here"),
        (["--host=a:2"], "`--host a:2,b:2` of mpirun is `-H a:2,b:2` here"),
        (["--bind-to", "core"], '`--bind-to core` of mpirun is `--mpi-args="--bind-to core"` here'),
        (["--nnodes=2"], "`--nnodes 2` of torchrun is `-H a:4,b:4` here"),
        (["--standalone"], "`--standalone` of torchrun: leave it out"),
        (["--master-addr", "a"], "`--master_addr` of torchrun: leave it out"),
        (["--gloo"], "`--gloo` of horovodrun: leave it out"),
        (["--ntasks=4"], "`--ntasks 4` of srun is `-np 4` here"),
        (["-genv", "A", "1"], "`-genv NAME VALUE` of mpiexec of MPICH is `-x NAME=VALUE` here"),
        (["--num_machines", "2"], "`--num_machines 2` of accelerate launch is `-H a:4,b:4` here"),
        (["--log-level", "debug"], "`--log-level LEVEL` of horovodrun: set DTRAIN_LOG_LEVEL"),
        (["--time", "5"], "did you mean --timeout?"),
        (["--num-procs", "5"], "did you mean --num-proc?"),
        (["-quiet"], "did you mean --quiet?"),
        (["-np2"], "did you mean -np?"),
        (["--zzz"], "flags of the script stand behind the script"),
        (["--quiet=yes"], "argument --quiet: expected no value, got 'yes'"),
        (["-np", "-q"], "argument -np: expected a value, got -q"),
        (["-np"], "argument -np: expected a value, got nothing"),
    ],
)
def test_what_is_not_known_gets_a_hint(arguments, hint):
    with pytest.raises(UsageError) as caught:
        parse_run([*arguments, "train.py"] if arguments != ["-np"] else arguments, {})
    assert hint in str(caught.value)


def test_every_flag_of_others_is_ours_or_has_a_hint():
    for flags in PEERS_FLAGS.values():
        for theirs, ours in flags.items():
            spelling = theirs.split()[0]
            if spelling not in SPELLINGS and spelling not in ("-m", "--module"):
                assert f"`{theirs}`" in unknown_flag(spelling, SPELLINGS)
            assert ours


def test_variables_add_up():
    assert parse_run(["-x", "A=1", "-x", "B", "-x", "A=2", "train.py"], {}).environment == {"A": "2", "B": None}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: SCRIPT"),
        (["--nope", "train.py"], "unrecognized arguments: --nope"),
        (["-np", "0", "train.py"], "expected a whole number of at least 1, got '0'"),
        (["-np", "two", "train.py"], "expected a whole number of at least 1, got 'two'"),
        (["--nproc_per_node=gpu", "train.py"], "got 'gpu'; torchrun counts GPUs there: write how many"),
        (["-ppn", "auto", "train.py"], "got 'auto'; torchrun counts GPUs there: write how many"),
        (["-np", "-1", "train.py"], "-np"),
        (["--timeout", "soon", "train.py"], "expected seconds such as 90, or 10m, or 2h, got 'soon'"),
        (["--launcher", "slurm", "train.py"], "'slurm'"),
        (["-x", "1=2", "train.py"], "expected NAME or NAME=value, got '1=2'"),
        (["-H", "a:x", "train.py"], "expected a list such as a:2,b:4, got 'a:x'"),
        (["-H", "a:2", "-np", "3", "train.py"], "expected at most 2 ranks on a:2, got 3"),
        (["-H", "a:2", "--launcher", "local", "train.py"], "expected ranks on this machine only, got a:2"),
        (["-H", "a:2", "--launcher", "ray", "train.py"], "expected Ray to choose the nodes"),
        (["--address", "a:1", "train.py"], "expected --launcher ray beside it"),
        (["--mpi-args='", "train.py"], "expected words as in a shell"),
        (["--time", "5", "train.py"], "unrecognized arguments: --time"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(UsageError) as caught:
        parse_run(arguments, {})
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"DTRAIN_NUM_PROC": "many"}, "DTRAIN_NUM_PROC: expected a whole number of at least 1, got 'many'"),
        ({"DTRAIN_QUIET": "perhaps"}, "DTRAIN_QUIET: expected 0 or 1, got 'perhaps'"),
        ({"DTRAIN_LAUNCHER": "bogus"}, f"DTRAIN_LAUNCHER: expected one of auto, {', '.join(BACKENDS)}, got 'bogus'"),
    ],
)
def test_refused_in_the_environment(env, message):
    with pytest.raises(UsageError) as caught:
        parse_run(["train.py"], env)
    assert message in str(caught.value)


def test_help_teaches():
    text = make_run_parser().format_help()
    assert "examples:" in text
    assert "exit codes:" in text
    for flag in FLAGS:
        assert f"--{flag.name}" in text
        assert flag.help
