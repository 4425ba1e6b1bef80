"""What a processor can do, as a set of features; and instruction sets, which are sets of features that sources need.

Neither is a linear order: a processor may have `avx512vnni` without `avx512bf16`, and NEON lies beside AVX. Which
features an instruction set needs is said by the build that has it (CMakeLists.txt), and the compiled module reports it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dtrain.base.errors import expected
from dtrain.kernels.compiled_module import compiled_module

# Feature, by the name that the build has for it -> its word in /proc/cpuinfo, on x86 or on ARM. The system leaves out
# what it does not save for processes.
FEATURES = {
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "avx512f": "avx512f",
    "avx512bw": "avx512bw",
    "avx512dq": "avx512dq",
    "avx512vl": "avx512vl",
    "avx512vnni": "avx512_vnni",
    "avx512bf16": "avx512_bf16",
    "neon": "asimd",
    "dotprod": "asimddp",
}
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class InstructionSet:
    """A name in the lists of compiled kernels, and its vectors' bytes."""

    name: str
    vector_bytes: int

    @property
    def multiplied_bytes(self) -> int:
        """That costs count as one product: 32 are multiplied a cycle and port, also where AVX-512 has vectors of 64."""
        return min(self.vector_bytes, 32)

    @property
    def features(self) -> frozenset[str]:
        """The features that its files are compiled for; none where the build has no such files."""
        return _compiled_features().get(self.name, frozenset())


INSTRUCTION_SETS = {
    known.name: known
    for known in (InstructionSet("scalar", 8), InstructionSet("avx2", 32), InstructionSet("avx512", 64))
}


@cache
def _compiled_features() -> dict[str, frozenset[str]]:
    module = compiled_module()
    return {} if module is None else {name: frozenset(features) for name, features, _ in module.instruction_sets()}


@cache
def detected() -> frozenset[str]:
    """The features of this machine's processors."""
    return features_in(_line("flags", "Features"))


@cache
def processor() -> str:
    """The processor's own name, or its architecture where the system tells no name."""
    import platform

    return _line("model name").partition(":")[2].strip() or platform.machine()


def _line(*starts: str) -> str:
    """The first line of /proc/cpuinfo that begins so; empty where there is none."""
    try:
        lines = _CPU_INFO.read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(starts)), "")


def features_in(line: str) -> frozenset[str]:
    """The features that a line of /proc/cpuinfo lists."""
    words = set(line.partition(":")[2].split())
    return frozenset(feature for feature, word in FEATURES.items() if word in words)


def named_features(names: Iterable[str], *, where: str) -> frozenset[str]:
    """The features behind names of instruction sets and of features. Raises ValueError for others."""
    found: set[str] = set()
    for name in names:
        if name in INSTRUCTION_SETS:
            found |= INSTRUCTION_SETS[name].features
        elif name in FEATURES:
            found.add(name)
        else:
            known = ", ".join(dict.fromkeys(["reference", *INSTRUCTION_SETS, *FEATURES]))
            raise ValueError(expected(where, f"names among {known}, with commas between", repr(name)))
    return frozenset(found)
