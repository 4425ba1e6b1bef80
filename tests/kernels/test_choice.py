"""Every kernel can be chosen, and computes what the reference computes; the explanation says what the choice does."""

from __future__ import annotations

import json

import pytest
from helpers.kernel_cases import OPS, all_calls
from helpers.kernel_checks import COMPILED, applicable_cases, compare, dtype_of, outputs_for, wanted_outputs

from dtrain.base.dtype import float32, float64, from_numpy
from dtrain.base.tensor_type import tensor_type
from dtrain.graph.calls import problem_of
from dtrain.kernels import Candidate, Policy, Problem, candidates, choose, reference_of, using
from dtrain.kernels.explanation import explain
from dtrain.kernels.features import INSTRUCTION_SETS
from dtrain.kernels.workspace import bind_alone

CONV = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}


def conv2d(dtype=float32, **changes) -> Problem:
    x, w, y = (tensor_type(shape, dtype) for shape in ((8, 64, 9, 9), (4, 64, 3, 3), (8, 4, 9, 9)))
    return Problem("conv2d", [x, w], [y], {**CONV, **changes})


@pytest.mark.parametrize("candidate", COMPILED, ids=lambda candidate: candidate.name)
def test_every_kernel_is_taken_by_its_name(candidate: Candidate) -> None:
    case, inputs = applicable_cases(candidate)[-1]
    problem, outputs = problem_of(case, from_numpy(dtype_of(candidate))), outputs_for(case, candidate)
    with using(forced=frozenset({candidate.name})):
        taken = choose(problem)
        assert taken is candidate
        assert explain(problem).reason == "DTRAIN_KERNELS forces it"
    wanted = wanted_outputs(case, candidate)
    bind_alone(taken, problem, inputs, outputs[0] if len(outputs) == 1 else tuple(outputs))()
    compare(case, candidate, outputs, wanted)


@pytest.mark.parametrize("op", OPS)
def test_every_reference_is_taken_by_its_name(op: str) -> None:
    problem = problem_of(next(all_calls(op)), float32)
    assert choose(problem, Policy(forced=frozenset({f"{op}_reference"}))) is reference_of(op)
    assert choose(problem, Policy(isa="reference")) is reference_of(op)
    assert candidates(problem)[-1] is reference_of(op)


def test_a_forced_kernel_that_is_not_usable_is_not_taken() -> None:
    forced = Policy(forced=frozenset({"conv2d_f32_im2col_scalar"}))
    assert choose(conv2d(float64), forced) is choose(conv2d(float64))


def test_the_explanation_names_every_candidate() -> None:
    found = explain(conv2d())
    if len(found.findings) == 1:
        pytest.skip("the compiled module is not built")
    by_name = {finding.name: finding for finding in found.findings}
    assert by_name["conv2d_f64_im2col_scalar"].objection == "takes f64 for input 0"
    assert by_name["conv2d_f32_depthwise_scalar"].objection == "takes several groups of one input channel each"
    assert by_name["conv2d_f32_im2col_scalar"].workspace == 64 * 9 * 8 * 81 * 4 + 4 * 8 * 81 * 4 + 0
    assert [finding.name for finding in found.findings if finding.is_taken] == [found.taken]
    assert found.reason == "it costs least"
    costs = [finding.cost for finding in found.findings if finding.cost is not None]
    assert costs == sorted(costs) and len(costs) > 1
    text = str(found)
    assert f"{found.taken} is taken: it costs least" in text
    assert text.index("not usable:") < text.index("takes f64 for input 0")
    assert all(finding.name in text for finding in found.findings)


def test_of_two_that_cost_the_same_neither_costs_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Candidate, "estimated_cost", lambda self, problem: 7.0)
    found = explain(conv2d())
    if len(found.findings) == 1:
        pytest.skip("the compiled module is not built")
    assert found.reason.startswith("nothing costs less, and it comes before conv2d_f32_")
    assert found.reason.endswith("which costs as much")


def test_the_explanation_is_json_too() -> None:
    found = json.loads(json.dumps(explain(conv2d(), Policy(isa="avx2", order="first")).as_dict()))
    assert found["problem"] == str(conv2d())
    assert found["policy"] == {"order": "first", "isa": "avx2", "forced": []}
    assert found["taken"] in [finding["name"] for finding in found["findings"]]


def test_the_explanation_says_what_the_cap_leaves_out() -> None:
    x = tensor_type((4, 8), float32)
    found = explain(Problem("softmax", [x], [x], {"axis": -1}), Policy(isa="fma"))
    left_out = {finding.isa: finding.objection for finding in found.findings if finding.objection}
    for isa in {name for name, known in INSTRUCTION_SETS.items() if known.features - {"fma"}} & left_out.keys():
        assert "which DTRAIN_ISA=fma leaves out" in left_out[isa] or "does not run" in left_out[isa]
    assert choose(Problem("softmax", [x], [x], {"axis": -1}), Policy(isa="fma")).isa in ("scalar", "reference")


def test_problems_are_keys() -> None:
    assert conv2d() == conv2d() and hash(conv2d()) == hash(conv2d())
    assert conv2d() != conv2d(float64) and conv2d() != conv2d(groups=2)
    backwards = Problem("conv2d", conv2d().inputs, conv2d().outputs, dict(reversed(CONV.items())))
    assert {conv2d(): 1}[backwards] == 1
    assert str(conv2d()) == (
        "conv2d f32[8,64,9,9]@cpu f32[4,64,3,3]@cpu dilation=1,1 groups=1 padding=1,1 stride=1,1 -> f32[8,4,9,9]@cpu"
    )
