"""How kernels are chosen: what the environment says, what is forced, and that a change reaches earlier choices."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain.base.dtype import float32
from dtrain.base.tensor_type import tensor_type
from dtrain.collectives.programs.rank_order import _compiled_kernel
from dtrain.graph.op import get_op
from dtrain.kernels import Policy, Problem, choose, current_policy, using
from dtrain.kernels.features import INSTRUCTION_SETS
from dtrain.kernels.policy import policy_from
from dtrain.runtime.dispatch import dispatch

X = tensor_type((4,), float32)
RELU = Problem("relu", [X], [X])


def test_the_environment_is_read() -> None:
    assert policy_from({}) == Policy()
    found = policy_from({"DTRAIN_ISA": "avx2", "DTRAIN_KERNELS": "first,relu_f32_scalar"})
    assert found == Policy(order="first", isa="avx2", forced=frozenset({"relu_f32_scalar"}))
    assert found.features == INSTRUCTION_SETS["avx2"].features
    assert Policy(isa="scalar").features == frozenset()
    assert Policy(isa="avx2,avx512vnni").features == INSTRUCTION_SETS["avx2"].features | {"avx512vnni"}


def test_an_unknown_feature_is_named() -> None:
    with pytest.raises(ValueError, match=r"DTRAIN_ISA: expected names among reference, scalar, avx2.*, got 'avx1024'"):
        policy_from({"DTRAIN_ISA": "avx1024"})


def test_the_old_name_of_the_cap_is_refused_with_the_new_one() -> None:
    with pytest.raises(ValueError, match="expected DTRAIN_ISA=avx2, got DTRAIN_MAX_ISA=avx2"):
        policy_from({"DTRAIN_MAX_ISA": "avx2"})


def test_a_forced_kernel_is_taken_and_an_unknown_one_refused() -> None:
    with using(forced=frozenset({"relu_reference"})):
        assert choose(RELU).name == "relu_reference"
    with (
        using(forced=frozenset({"relu_f32_scalr"})),
        pytest.raises(ValueError, match=r"DTRAIN_KERNELS: .* got 'relu_f32_scalr'; names like it: relu"),
    ):
        choose(RELU)


def test_an_order_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kernel policy: expected an order among cost, first.*, got 'luck'"):
        Policy(order="luck")


def test_a_cap_holds_for_types_that_were_dispatched_before() -> None:
    op = get_op("relu")
    F.relu(dt.tensor(np.ones(4, np.float32)))
    before = dispatch(op, (X,), {}).kernel
    with using(isa="reference"):
        assert dispatch(op, (X,), {}).kernel.is_reference
        assert _compiled_kernel(np.dtype(np.float32)) is None
    assert dispatch(op, (X,), {}).kernel.name == before.name
    assert current_policy() == policy_from({})


def test_a_process_takes_its_cap_from_the_environment() -> None:
    script = "from dtrain.kernels import *\nprint(choose(Problem('relu', [T], [T])).isa)"
    script = "from dtrain.base.dtype import float32\nfrom dtrain.base.tensor_type import tensor_type\n" + script
    script = script.replace("[T]", "[tensor_type((4,), float32)]")
    for isa in ("reference", "avx1024"):
        done = subprocess.run(
            [sys.executable, "-c", script], env={"DTRAIN_ISA": isa}, capture_output=True, text=True, timeout=60
        )
        if isa == "reference":
            assert done.stdout == "reference\n", done.stderr
        else:
            assert done.returncode and "got 'avx1024'" in done.stderr
