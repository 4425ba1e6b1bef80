"""Every compiled kernel that this CPU runs, against the reference of its op, over all calls of that op."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.kernel_cases import OPS, all_calls
from helpers.kernel_checks import (
    COMPILED,
    LISTED,
    applicable_cases,
    compare,
    outputs_for,
    run,
    wanted_outputs,
)

from dtrain.base.dtype import float32
from dtrain.graph.calls import problem_of
from dtrain.kernels import Candidate, candidates, choose, kernels_of, reference_of, using
from dtrain.kernels.cpu_kernels import CompiledRow, candidates_of_rows, compiled_rows
from dtrain.kernels.features import INSTRUCTION_SETS

ROWS = compiled_rows()

pytestmark = pytest.mark.skipif(not ROWS, reason="the compiled module is not built")


@pytest.mark.parametrize("candidate", COMPILED, ids=lambda candidate: candidate.name)
def test_against_reference(candidate: Candidate) -> None:
    cases = applicable_cases(candidate)
    assert cases, f"no call of {candidate.op} fits {candidate.name}"
    for case, inputs in cases:
        outputs, wanted = outputs_for(case, candidate), wanted_outputs(case, candidate)
        run(candidate, case, inputs, outputs)
        compare(case, candidate, outputs, wanted)


@pytest.mark.parametrize("candidate", COMPILED, ids=lambda candidate: candidate.name)
def test_inputs_are_left_alone(candidate: Candidate) -> None:
    for case, inputs in applicable_cases(candidate, most_further=40):
        before = [array.copy() for array in inputs]
        run(candidate, case, inputs, outputs_for(case, candidate))
        for array, copy in zip(inputs, before):
            np.testing.assert_array_equal(
                array.view(np.uint8) if array.ndim else array, copy.view(np.uint8) if copy.ndim else copy
            )


ALIASED = [candidate for candidate in COMPILED if any(case.aliases for case in all_calls(candidate.op))]


@pytest.mark.parametrize("candidate", ALIASED, ids=lambda candidate: candidate.name)
def test_outputs_may_be_inputs(candidate: Candidate) -> None:
    for case, inputs in applicable_cases(candidate):
        if not case.aliases:
            continue
        wanted, outputs = wanted_outputs(case, candidate), outputs_for(case, candidate)
        outputs = [inputs[case.aliases[i]] if i in case.aliases else output for i, output in enumerate(outputs)]
        run(candidate, case, inputs, outputs)
        compare(case, candidate, outputs, wanted)


@pytest.mark.parametrize("candidate", COMPILED, ids=lambda candidate: candidate.name)
def test_calls_reach_beyond_a_whole_vector(candidate: Candidate) -> None:
    """Some input or output is longer than the widest vector, and no multiple of any."""
    arrays = (
        array for case, inputs in applicable_cases(candidate) for array in (*inputs, *outputs_for(case, candidate))
    )
    assert any(a.size > 16 and a.size % 4 for a in arrays), f"add calls of {candidate.op}: all end with a whole vector"


def test_every_row_is_registered_where_the_cpu_runs_it() -> None:
    listed = {candidate.name: candidate.is_supported for candidate in LISTED}
    assert {row.name: row.is_supported for row in ROWS}.items() <= listed.items()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_names_follow_the_grammar(row: CompiledRow) -> None:
    assert row.name == "_".join(filter(None, [row.op, row.dtype, row.algorithm, row.isa]))


def test_every_op_has_a_scalar_kernel_per_dtype() -> None:
    """What an older CPU, or one of another make, falls back to."""
    scalar = {(row.op, row.algorithm, row.dtype) for row in ROWS if row.isa == "scalar"}
    assert {(row.op, row.algorithm, row.dtype) for row in ROWS} == scalar


@pytest.mark.parametrize("isa", ["reference", *INSTRUCTION_SETS])
@pytest.mark.parametrize("op", OPS)
def test_isa_cap_chooses_that_level(op: str, isa: str) -> None:
    problem = problem_of(next(all_calls(op)), float32)
    fitting = candidates(problem)
    with using(isa=isa):
        chosen = choose(problem)
    if isa == "reference":
        assert chosen is reference_of(op)
        return
    cap = INSTRUCTION_SETS[isa].features
    fitting = [candidate for candidate in fitting if not candidate.is_reference and candidate.features <= cap]
    algorithm = chosen.name.removesuffix(chosen.isa)
    within = [candidate.isa for candidate in fitting if candidate.name.removesuffix(candidate.isa) == algorithm]
    widest = max(within, key=lambda name: INSTRUCTION_SETS[name].vector_bytes, default="reference")
    assert chosen.isa == widest


def test_same_bits_on_every_isa() -> None:
    """Ranks on different CPUs must agree on what they reduce."""
    arrays = [np.random.default_rng(rank).standard_normal(1000).astype(np.float32) for rank in range(5)]
    results = []
    for candidate in kernels_of("rank_order_reduce"):
        if "_f32_" in candidate.name or candidate.is_reference:
            results.append(np.empty(1000, np.float32))
            candidate.function(*arrays, out=results[-1], op="sum")
    assert len(results) >= 2
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_unsupported_rows_are_not_offered() -> None:
    row = next(row for row in ROWS if row.op == "relu_backward")
    offered = list(candidates_of_rows([row._replace(is_supported=False)]))
    assert [(candidate.name, candidate.is_supported) for candidate in offered] == [(row.name, False)]
