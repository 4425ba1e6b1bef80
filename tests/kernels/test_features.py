"""Features are a set: what this processor has, what instruction sets need, and what the lists of kernels name."""

from __future__ import annotations

import sys

import pytest

from dtrain.kernels import all_kernels
from dtrain.kernels.features import FEATURES, INSTRUCTION_SETS, detected, features_in, named_features, processor


def test_a_line_of_the_system_is_read() -> None:
    zen4 = "flags\t\t: fpu avx2 fma f16c avx512f avx512bw avx512dq avx512vl avx512_vnni avx512_bf16 sse4_2"
    assert features_in(zen4) == INSTRUCTION_SETS["avx512"].features | {"vnni", "bf16"}
    graviton = "Features\t: fp asimd evtstrm aes asimddp sve"
    assert features_in(graviton) == {"neon", "dotprod"}
    assert features_in("") == frozenset()


def test_instruction_sets_are_no_line() -> None:
    """A processor may have one of two features that kernels ask for, and the other not."""
    assert named_features(["avx2", "vnni"], where="test") == {"avx2", "fma", "f16c", "vnni"}
    assert all(known.features <= FEATURES.keys() for known in INSTRUCTION_SETS.values())
    with pytest.raises(ValueError, match=r"test: expected names among reference, scalar, .*, got 'mmx'"):
        named_features(["mmx"], where="test")


@pytest.mark.skipif(sys.platform != "linux", reason="features are read from /proc/cpuinfo")
def test_the_system_and_the_compiled_module_agree() -> None:
    compiled = [one for one in all_kernels() if one.isa in INSTRUCTION_SETS]
    assert processor()
    for one in compiled:
        assert one.is_supported == (one.features <= detected()), one.name
