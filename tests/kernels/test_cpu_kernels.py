"""Every compiled kernel that this CPU runs, against the reference of its op, over the cases of that op."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.kernel_cases import CASES
from helpers.kernel_checks import (
    COMPILED,
    LISTED,
    applicable_cases,
    compare,
    dtype_of,
    problem_of,
    run,
    wanted_outputs,
)

from dtrain.kernels import Candidate, candidates, choose, kernels_of, reference_of, using
from dtrain.kernels.cpu_kernels import CompiledRow, candidates_of_rows, compiled_rows
from dtrain.kernels.features import INSTRUCTION_SETS

ROWS = compiled_rows()

pytestmark = pytest.mark.skipif(not ROWS, reason="the compiled module is not built")


@pytest.mark.parametrize("info", COMPILED, ids=lambda info: info.name)
def test_against_reference(info: Candidate) -> None:
    cases = applicable_cases(info)
    assert cases, f"no case of {info.op} fits {info.name}"
    for case, inputs in cases:
        outputs = case.make_outputs(dtype_of(info))
        wanted = wanted_outputs(case, info, inputs)
        run(info, case, inputs, outputs)
        compare(case, info, outputs, wanted)


@pytest.mark.parametrize("info", COMPILED, ids=lambda info: info.name)
def test_inputs_are_left_alone(info: Candidate) -> None:
    for case, inputs in applicable_cases(info)[:40]:
        before = [array.copy() for array in inputs]
        run(info, case, inputs, case.make_outputs(dtype_of(info)))
        for array, copy in zip(inputs, before):
            np.testing.assert_array_equal(
                array.view(np.uint8) if array.ndim else array, copy.view(np.uint8) if copy.ndim else copy
            )


ALIASED = [info for info in COMPILED if any(case.aliases for case in CASES.get(info.op, list)())]


@pytest.mark.parametrize("info", ALIASED, ids=lambda info: info.name)
def test_outputs_may_be_inputs(info: Candidate) -> None:
    for case, inputs in applicable_cases(info):
        if not case.aliases:
            continue
        wanted = wanted_outputs(case, info, inputs)
        outputs = case.make_outputs(dtype_of(info))
        outputs = [inputs[case.aliases[i]] if i in case.aliases else output for i, output in enumerate(outputs)]
        run(info, case, inputs, outputs)
        compare(case, info, outputs, wanted)


def test_every_compiled_op_has_cases() -> None:
    missing = sorted({info.op for info in COMPILED} - set(CASES))
    assert not missing, f"add cases of {missing} to tests/helpers/kernel_cases"


def test_every_row_is_registered_where_the_cpu_runs_it() -> None:
    listed = {info.name: info.is_supported for info in LISTED}
    assert {row.name: row.is_supported for row in ROWS}.items() <= listed.items()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_names_follow_the_grammar(row: CompiledRow) -> None:
    assert row.name == "_".join(filter(None, [row.op, row.dtype, row.algorithm, row.isa]))


def test_every_op_has_a_scalar_kernel_per_dtype() -> None:
    """What an older CPU, or one of another make, falls back to."""
    scalar = {(row.op, row.algorithm, row.dtype) for row in ROWS if row.isa == "scalar"}
    assert {(row.op, row.algorithm, row.dtype) for row in ROWS} == scalar


@pytest.mark.parametrize("isa", ["reference", *INSTRUCTION_SETS])
@pytest.mark.parametrize("op", sorted(CASES))
def test_isa_cap_chooses_that_level(op: str, isa: str) -> None:
    case, dtype = next(iter(CASES[op]())), np.dtype(np.float32)
    problem = problem_of(op, case, case.make_inputs(dtype), dtype)
    fitting = candidates(problem)
    with using(isa=isa):
        chosen = choose(problem)
    if isa == "reference":
        assert chosen is reference_of(op)
        return
    cap = INSTRUCTION_SETS[isa].features
    within = [info.isa for info in fitting if not info.is_reference and info.features <= cap]
    widest = max(within, key=lambda name: INSTRUCTION_SETS[name].vector_bytes, default="reference")
    assert chosen.isa == widest


def test_same_bits_on_every_isa() -> None:
    """Ranks on different CPUs must agree on what they reduce."""
    arrays = [np.random.default_rng(rank).standard_normal(1000).astype(np.float32) for rank in range(5)]
    results = []
    for info in kernels_of("rank_order_reduce"):
        if "_f32_" in info.name or info.is_reference:
            results.append(np.empty(1000, np.float32))
            info.function(*arrays, out=results[-1], op="sum")
    assert len(results) >= 2
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


def test_unsupported_rows_are_not_offered() -> None:
    row = next(row for row in ROWS if row.op == "relu_backward")
    offered = list(candidates_of_rows([row._replace(is_supported=False)]))
    assert [(info.name, info.is_supported) for info in offered] == [(row.name, False)]
