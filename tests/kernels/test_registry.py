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
from dtrain.kernels import KernelInfo, array_module, find_kernel, kernels_of, register_kernel, registry
from dtrain.kernels.registry import ISA_ORDER, all_kernels, reference_of

F32 = tensor_type((4,), float32)


@pytest.fixture
def empty_registry(monkeypatch):
    """A registry of its own, with nothing in it."""
    monkeypatch.setattr(registry, "_KERNELS", {})
    monkeypatch.setattr(registry, "_is_loaded", True)


def kernel(name: str, isa: str, **options) -> KernelInfo:
    return register_kernel(KernelInfo(op="twice", name=name, isa=isa, function=print, **options))


def test_faster_isas_come_first(empty_registry) -> None:
    for isa in ("scalar", "reference", "avx512", "avx2"):
        kernel(f"twice_{isa}", isa)
    assert [info.isa for info in kernels_of("twice")] == ["avx512", "avx2", "scalar", "reference"]


def test_within_an_isa_the_first_that_fits_wins(empty_registry) -> None:
    kernel("special", "scalar", accepts=lambda types, attrs: attrs["groups"] == 2)
    kernel("general", "scalar")
    assert find_kernel("twice", [F32], {"groups": 2}).name == "special"
    assert find_kernel("twice", [F32], {"groups": 1}).name == "general"


def test_names_are_unique(empty_registry) -> None:
    kernel("one", "scalar")
    with pytest.raises(ValueError, match="expected a new kernel name, got one"):
        kernel("one", "avx2")


def test_no_kernel_for_the_dtype_lists_what_there_is(empty_registry) -> None:
    kernel("only_f32", "scalar", dtypes=(float32,))
    with pytest.raises(DtypeError, match=r"kernels takes \(only_f32\), got bool\[4\]@cpu; cast the inputs"):
        find_kernel("twice", [tensor_type((4,), bool_)], {})


def test_unknown_op() -> None:
    with pytest.raises(DeviceError, match="a kernel for no_such_op on cpu, got none"):
        find_kernel("no_such_op", [F32], {})
    with pytest.raises(KeyError, match="no_such_op has no reference"):
        reference_of("no_such_op")


def test_unknown_isa_in_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("DTRAIN_MAX_ISA", "avx1024")
    with pytest.raises(ValueError, match="DTRAIN_MAX_ISA: expected one of reference, scalar, avx2, avx512, vnni"):
        find_kernel("relu_backward", [F32, F32], {})


def test_every_op_has_exactly_one_reference() -> None:
    references = [info.op for info in all_kernels() if info.is_reference]
    assert len(references) == len(set(references))
    assert {info.op for info in all_kernels()} == set(references)


def test_isas_are_known() -> None:
    assert {info.isa for info in all_kernels()} <= set(ISA_ORDER)


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
            isas = {info.isa for info in all_kernels() if info.device_kind == "cpu"}
        print(len(caught), sorted(isas), caught[0].message)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert printed.startswith("1 ['reference'] dtrain.kernels: expected the compiled module _cpu, got")
    assert "run `pip install -e .` in it with a C++ compiler" in printed
