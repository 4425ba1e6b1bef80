"""Random training programs themselves: what comes, that a fault is caught, and that it becomes small."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dtrain import collectives as dist
from programs import judge
from programs.generate import generate
from programs.judge import Outcome
from programs.program import Event, Layer, Net, Pass, Penalty, Program, Term, why_not
from programs.rank import InParts, Result, Run
from programs.run import outcome_of
from programs.shrink import shrink
from programs.text import num_lines, text_of

TWO_LAYERS = Net("a", (Layer("l0", "linear"), Layer("l1", "norm"), Layer("l2", "linear")))


def simple(**changes: object) -> Program:
    """One net, one pass, two steps on two ranks, of three features each way to be a little less simple."""
    program = Program(
        seed=1,
        dtype="f64",
        nets=(TWO_LAYERS,),
        passes=(Pass((Term("a", "p"),)),),
        data="p",
        sizes=(((3, 1),), ((2, 3),)),
        traced=True,
        optimizer="momentum",
        clip=0.5,
    )
    return replace(program, **changes)


# Generation -----------------------------------------------------------------------------------------------------------


def test_a_seed_gives_one_program_whose_batches_alone_depend_on_the_ranks() -> None:
    for seed in range(50):
        two, three = generate(seed, 2), generate(seed, 3)
        assert two == generate(seed, 2)
        assert replace(two, sizes=()) == replace(three, sizes=())
        first = [[sum(column) for column in program.sizes[0]] for program in (two, three)]
        assert first[0] == first[1] or two.by_parts  # plain batch norm has two samples more a rank


def features(program: Program) -> set[str]:
    """What a program has of that which data parallelism has to get right."""
    found = {program.dtype, program.optimizer, "traced" if program.traced else "eager"}
    found |= {f"layer {layer.kind}" for layer in program.layers()}
    found |= {f"event {event.kind}" for event in program.events}
    found |= {f"penalty {penalty.kind}" for penalty in program.penalties()}
    found |= {f"backward {one.order}" for one in program.passes}
    found |= {f"{net.norm} norm" for net in program.nets if any(layer.kind == "norm" for layer in net.layers)}
    columns = [column for step in program.sizes for column in step]
    wrapped = [net for net in program.nets if net.wrapped]
    named = {
        "no_sync": any(one.no_sync for one in program.passes),
        "several passes": len(program.passes) > 1,
        "several backward in one trace": program.traced and len(program.passes) > 1,
        "several forwards a backward": any(len(one.terms) > 1 for one in program.passes),
        "two models": len(wrapped) > 1,
        "equal models": len(wrapped) > 1 and wrapped[0].layers == wrapped[1].layers,
        "one through the other": any(term.then for term in program.terms()),
        "a net of its own": len(wrapped) < len(program.nets),
        "frozen": any(net.frozen for net in program.nets),
        "uneven batches": any(len(set(column)) > 1 for column in columns),
        "empty batches": any(0 in column for column in columns),
        "evaluation before backward": any(term.evaluated for term in program.terms()),
        "clipping": program.clip is not None,
        "accumulation over steps": program.update_every > 1,
        "resume": bool(program.resume_at),
        "resume on another world": len(set(program.worlds)) > 1,
        "detached": any(term.detached for term in program.terms()),
        "norms in f32": any(net.wide for net in program.nets),
        "tokens": any(term.loss == "tokens" for term in program.terms()),
        "waiting steps": program.waiting,
        "updates of what waits": program.inside,
        "dropping all": any(one.forgets == "*" for one in program.passes),
        "dropping some": any("." in one.forgets for one in program.passes),
        "dropping what waits": any(
            before.no_sync and one.forgets for before, one in zip(program.passes, program.passes[1:])
        ),
        "a layer of two models": any(net.taken for net in program.nets),
        "ignore_first": any(net.ignore_first for net in program.nets),
        "unnoticed change": program.traced and any(not event.retrace for event in program.events),
    }
    return found | {name for name, has in named.items() if has}


def test_every_feature_comes_often_enough() -> None:
    programs = [generate(seed, 3) for seed in range(2000)]
    assert [why for program in programs if (why := why_not(program))] == []
    counts = Counter(feature for program in programs for feature in features(program))
    wanted = {
        *("f64", "f32", "f16", "bf16", "sgd", "momentum", "adam", "eager", "traced", "sync norm", "plain norm"),
        *(
            f"layer {kind}"
            for kind in ("linear", "conv", "norm", "layer_norm", "scale", "dropout", "late", "odd", "unused")
        ),
        *(f"layer {kind}" for kind in ("again", "transposed", "gamma", "shared", "energy")),
        *(
            f"event {kind}"
            for kind in (
                "freeze",
                "unfreeze",
                "hold",
                "late",
                "replace",
                "evaluate",
                "copy",
                "pickle",
                "inner",
                "still",
                "load",
            )
        ),
        *("penalty l1", "penalty l2", "backward one", "backward each", "backward reversed", "no_sync"),
        *("backward twice", "backward grad", "detached"),
        *("several passes", "several backward in one trace", "several forwards a backward", "two models"),
        *("equal models", "one through the other", "a net of its own", "frozen", "uneven batches", "empty batches"),
        *("evaluation before backward", "clipping", "accumulation over steps", "resume", "resume on another world"),
        *("updates of what waits", "dropping all", "dropping some", "dropping what waits"),
        *("unnoticed change", "tokens", "norms in f32", "waiting steps", "a layer of two models", "ignore_first"),
    }
    assert wanted <= set(counts), wanted - set(counts)
    rare = {feature: count for feature, count in counts.items() if count < 20}
    assert not rare, rare


# Judging --------------------------------------------------------------------------------------------------------------


def test_a_script_runs_on_its_own_and_says_what_it_has_found(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(text_of(simple()).replace("loss0.backward()", "(loss0 * (run.size + 1)).backward()"))
    command = [sys.executable, "-W", "error", str(script)]
    tests = str(Path(__file__).parents[1])
    job = subprocess.run(command, env={"PYTHONPATH": tests}, capture_output=True, text=True, timeout=60)
    assert job.returncode == 1 and job.stdout.startswith("differs: "), job.stdout + job.stderr


@pytest.mark.parametrize("changes", [{}, {"traced": False}, {"dtype": "f32"}, {"optimizer": "adam", "clip": None}])
def test_a_program_without_a_fault_is_equal(changes: dict[str, object]) -> None:
    assert outcome_of(simple(**changes)) == Outcome("equal")


def test_plain_batch_norm_and_dropout_are_judged_by_parts() -> None:
    layers = (*TWO_LAYERS.layers, Layer("l3", "dropout"))
    program = simple(nets=(replace(TWO_LAYERS, layers=layers, norm="plain"),), sizes=(((3, 2, 5),), ((2, 2, 2),)))
    assert program.by_parts and why_not(program) == ""
    assert outcome_of(program) == Outcome("equal")
    # As a whole the batch has other statistics and masks: the parts are what makes the two equal.
    assert judge_as_a_whole(program).is_failure


def judge_as_a_whole(program: Program) -> Outcome:
    from programs.run import body_of, settings_of

    return judge.judged_on_threads(body_of(program), **{**settings_of(program), "by_parts": False})


def test_a_checkpoint_goes_on_in_another_world() -> None:
    program = simple(sizes=(((3, 1),), ((2, 3, 2),), ((1, 0, 4),)), resume_at=1)
    assert program.worlds == (2, 3)
    assert outcome_of(program) == Outcome("equal")
    # Without the checkpoint's state the run would not go on but begin again.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "load", lambda *_: None)
        assert outcome_of(program).verdict == "differs"


def result(value: float, gradient: float | None = 1.0, raw: bytes = b"1") -> Result:
    gradients = None if gradient is None else np.array([gradient])
    return Result(values={"w": np.array([value]), "w (gradient)": gradients}, raw={"w": raw})


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ([result(2.0), result(2.0)], "equal"),
        ([result(2.0 + 1e-9), result(2.0)], "equal"),
        ([result(2.0), result(2.0 + 1e-8)], "differs"),
        ([result(2.0), result(2.0, gradient=1 + 1e-8)], "differs"),
        ([result(2.0), result(2.0, gradient=None)], "differs"),
        ([result(2.0), result(float("nan"))], "differs"),
        ([result(2.0), result(2.0, raw=b"2")], "apart"),
    ],
)
def test_judging(found: list[Result], verdict: str) -> None:
    assert judge.judge(result(2.0), [found], "f64").verdict == verdict


def test_a_program_without_finite_numbers_is_void() -> None:
    assert judge.judge(result(float("inf")), [[result(1.0)]], "f64").verdict == "void"


# Catching and shrinking -----------------------------------------------------------------------------------------------


def test_ranks_that_do_not_average_are_caught_in_a_script_of_twenty_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Run, "data_parallel", lambda run, net, **_: net if run.size or not run.by_parts else InParts(net, run.seed)
    )
    layers = (*TWO_LAYERS.layers, Layer("l3", "again", of="l0"), Layer("l4", "scale"))
    program = simple(
        nets=(replace(TWO_LAYERS, layers=layers),),
        passes=(Pass((Term("a", "p"), Term("a", "q")), (Penalty("a"),)),),
        data="pq",
        sizes=(((3, 1, 2), (1, 2, 3)), ((2, 3, 1), (1, 2, 3))),
        events=(Event(1, "evaluate", "a"),),
    )
    assert outcome_of(program).verdict == "apart"
    small, outcome = shrink(program, outcome_of)
    assert outcome.is_failure
    assert not small.traced and not small.events and small.worlds == (2,) and len(small.sizes) == 1
    assert len(list(small.terms())) == len(list(small.layers())) == 1
    assert num_lines(text_of(small)) <= 20, text_of(small)


def test_shrinking_keeps_what_the_failure_needs() -> None:
    """A judge that fails for one combination alone; everything else goes."""

    def failing(program: Program) -> Outcome:
        bad = program.traced and any(layer.kind == "gamma" for layer in program.layers()) and len(program.sizes) > 1
        return Outcome("differs", "too much") if bad else Outcome("equal")

    layers = (*TWO_LAYERS.layers, Layer("l3", "gamma", of="l1"))
    program = simple(nets=(replace(TWO_LAYERS, layers=layers), replace(TWO_LAYERS, name="b")))
    small, _ = shrink(program, failing)
    assert small.traced and len(small.sizes) == 2 and len(small.nets) == 1
    assert {layer.kind for layer in small.layers()} == {"norm", "gamma"}
    assert small.optimizer == "sgd" and small.clip is None


def test_shrinking_wants_a_failure() -> None:
    with pytest.raises(ValueError, match="a program that fails, got equal"):
        shrink(simple(), lambda _: Outcome("equal"))


def test_one_process_that_plays_the_ranks_gives_each_its_own_random_numbers() -> None:
    import dtrain as dt

    run = Run(rank=0, size=0, dtype="f64", seed=5, by_parts=True)
    dropped = InParts(dt.nn.Dropout(0.5), 5)
    (x, _) = run.batch(0, (4, 0, 3))
    joined = dropped(x)
    assert joined.shape == x.shape

    def of_rank(communicator: dist.Communicator) -> np.ndarray:
        mine = Run(rank=communicator.rank, size=3, dtype="f64", seed=5)
        dt.seed(5, rank=communicator.rank)
        return dt.nn.Dropout(0.5)(mine.batch(0, (4, 0, 3))[0]).numpy()

    np.testing.assert_array_equal(np.concatenate(dist.run_threads(3, of_rank)), joined.numpy())
