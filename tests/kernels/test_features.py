"""Features are a set: what this processor has, what instruction sets need, and what the lists of kernels name."""

from __future__ import annotations

import sys

import pytest

from dtrain.kernels import all_kernels
from dtrain.kernels.compiled_module import compiled_module
from dtrain.kernels.features import FEATURES, INSTRUCTION_SETS, detected, features_in, named_features, processor

COMPILED_FOR = (
    {name: frozenset(features) for name, features, _ in compiled_module().instruction_sets()}
    if compiled_module() is not None
    else {}
)


def test_a_line_of_the_system_is_read() -> None:
    zen4 = "flags\t\t: fpu avx2 fma f16c avx512f avx512bw avx512dq avx512vl avx512_vnni avx512_bf16 sse4_2"
    avx512 = {"avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl"}
    assert features_in(zen4) == avx512 | {"avx512vnni", "avx512bf16"}
    if "avx512" in COMPILED_FOR:
        assert INSTRUCTION_SETS["avx512"].features == avx512
    graviton = "Features\t: fp asimd evtstrm aes asimddp sve"
    assert features_in(graviton) == {"neon", "dotprod"}
    assert features_in("") == frozenset()


def test_instruction_sets_are_no_line() -> None:
    """A processor may have one of two features that kernels ask for, and the other not."""
    assert named_features(["fma", "avx512vnni"], where="test") == {"fma", "avx512vnni"}
    for known in INSTRUCTION_SETS.values():
        assert known.features <= FEATURES.keys()
        assert named_features([known.name, "neon"], where="test") == known.features | {"neon"}
    with pytest.raises(ValueError, match=r"test: expected names among reference, scalar, .*, got 'mmx'"):
        named_features(["mmx"], where="test")


@pytest.mark.skipif(not COMPILED_FOR, reason="the compiled module is not built")
def test_the_build_says_what_its_instruction_sets_need() -> None:
    """Each is known here by its vectors' bytes, and kernels are listed for no other."""
    assert COMPILED_FOR.keys() <= INSTRUCTION_SETS.keys()
    assert {name: known.features for name, known in INSTRUCTION_SETS.items() if name in COMPILED_FOR} == COMPILED_FOR
    assert {one.isa for one in all_kernels()} - {"reference", "cuda"} == COMPILED_FOR.keys()
    assert COMPILED_FOR["scalar"] == frozenset()


@pytest.mark.skipif(sys.platform != "linux", reason="features are read from /proc/cpuinfo")
def test_the_system_and_the_compiled_module_agree() -> None:
    compiled = [one for one in all_kernels() if one.isa in INSTRUCTION_SETS]
    assert processor()
    for one in compiled:
        assert one.is_supported == (one.features <= detected()), one.name
    module = compiled_module()
    for name, features, is_supported in [] if module is None else module.instruction_sets():
        assert is_supported == (frozenset(features) <= detected()), name
