"""The registry: order, predicates, the cap on instruction sets, and what an unknown op says."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from dtrain.base.dtype import bool_, float32
from dtrain.base.errors import DeviceError, DtypeError
from dtrain.base.tensor_type import tensor_type
from dtrain.kernels import (
    Candidate,
    Policy,
    Problem,
    all_kernels,
    array_module,
    choose,
    kernels_of,
    reference_of,
    register_kernel,
    registry,
)
from dtrain.kernels.features import INSTRUCTION_SETS

F32 = tensor_type((4,), float32)


@pytest.fixture
def empty_registry(monkeypatch):
    """A registry of its own, with nothing in it."""
    monkeypatch.setattr(registry, "_KERNELS", {})
    monkeypatch.setattr(registry, "_is_loaded", True)


def kernel(name: str, isa: str, **options) -> Candidate:
    return register_kernel(Candidate(op="twice", name=name, isa=isa, function=print, **options))


def twice(type=F32, **attrs) -> Problem:
    return Problem("twice", [type], [type], attrs)


def test_the_cheapest_is_taken_and_the_reference_last(empty_registry) -> None:
    for isa in ("scalar", "reference", "avx512", "avx2"):
        kernel(f"twice_{isa}", isa)
    assert [candidate.isa for candidate in kernels_of("twice")] == ["scalar", "avx512", "avx2", "reference"]
    assert choose(twice()).isa == "avx512"
    assert choose(twice(), Policy(order="first")).isa == "scalar"


def test_at_one_cost_the_first_that_fits_wins(empty_registry) -> None:
    two_groups = lambda problem: None if problem.attrs["groups"] == 2 else "takes two groups"  # noqa: E731
    kernel("special", "scalar", conditions=(two_groups,))
    kernel("general", "scalar")
    assert choose(twice(groups=2)).name == "special"
    assert choose(twice(groups=1)).name == "general"


def test_names_are_unique(empty_registry) -> None:
    kernel("one", "scalar")
    with pytest.raises(ValueError, match="expected a new kernel name, got one"):
        kernel("one", "avx2")


def test_no_kernel_for_the_dtype_lists_what_there_is(empty_registry) -> None:
    kernel("only_f32", "scalar", conditions=(lambda p: None if p.inputs[0].dtype is float32 else "takes f32",))
    with pytest.raises(DtypeError, match=r"kernels takes \(only_f32\), got bool\[4\]@cpu; cast the inputs"):
        choose(twice(tensor_type((4,), bool_)))


def test_unknown_op() -> None:
    with pytest.raises(DeviceError, match="a kernel for no_such_op on cpu, got none"):
        choose(Problem("no_such_op", [F32], [F32]))
    with pytest.raises(KeyError, match="no_such_op has no reference"):
        reference_of("no_such_op")


def test_every_op_has_exactly_one_reference() -> None:
    references = [candidate.op for candidate in all_kernels() if candidate.is_reference]
    assert len(references) == len(set(references))
    assert {candidate.op for candidate in all_kernels()} == set(references)


def test_isas_are_known() -> None:
    assert {candidate.isa for candidate in all_kernels()} <= {"reference", "cuda", *INSTRUCTION_SETS}


def test_array_module_of_numpy() -> None:
    assert array_module(np.zeros(1)) is np


def test_without_the_compiled_module_one_warning_and_the_references() -> None:
    script = """
        import sys, warnings
        sys.modules["dtrain.kernels._cpu"] = None  # an import of it now fails
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            from dtrain.kernels import all_kernels, load
            load()
            load()
            isas = {candidate.isa for candidate in all_kernels() if candidate.device_kind == "cpu"}
        print(len(caught), sorted(isas), caught[0].message)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert printed.startswith("1 ['reference'] dtrain.kernels: expected the compiled module _cpu, got")
    assert "run `pip install -e .` in it with a C++ compiler" in printed
