"""Every CUDA source compiles for every supported architecture and holds every function that the table names."""

from __future__ import annotations

import pytest
from helpers.cuda_compilers import CudaCompiler, find_compilers
from helpers.cuda_sources import functions_of, source_files

from dtrain.kernels.cuda.module import FOLDER, OPTIONS, source_of
from dtrain.kernels.cuda.table import TABLE

pytestmark = pytest.mark.emulation

ARCHITECTURES = ("sm_75", "sm_80", "sm_90")  # Turing, Ampere, Hopper


@pytest.fixture(scope="module")
def compilers(tmp_path_factory: pytest.TempPathFactory) -> list[CudaCompiler]:
    found = find_compilers(OPTIONS, tmp_path_factory.mktemp("cuda"))
    if not found:
        pytest.skip("no CUDA compiler: neither nvcc on the PATH nor an NVRTC library (pip install nvidia-cuda-nvrtc)")
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("file", source_files())
def test_source_compiles(
    file: str, architecture: str, compilers: list[CudaCompiler], record_property: pytest.RecordProperty
) -> None:
    for compiler in compilers:
        record_property("compiler", compiler.name)
        binary = compiler.compile(source_of(file), architecture)
        print(f"{file} for {architecture}: {compiler.name}, {len(binary)} bytes")
        missing = [name for name in functions_of(file) if f".text.{name}\0".encode() not in binary]
        assert not missing, f"{compiler.name} left out {missing}"


def test_a_compiler_error_names_the_file_and_line(compilers: list[CudaCompiler]) -> None:
    broken = source_of("rank_order.cu").replace("total / (A)num_arrays", "total / undeclared")
    for compiler in compilers:
        with pytest.raises(AssertionError, match=r"rank_order\.cu.*undeclared"):
            compiler.compile(broken, "sm_80")


def test_the_table_names_every_source() -> None:
    assert {row.file for row in TABLE} == set(source_files())


def test_headers_are_pasted_in_once() -> None:
    for file in source_files():
        text = source_of(file)
        assert "#include" not in text
        assert text.count("struct bf16 {") == 1
        assert f'"{file}"' in text


def test_sources_lie_inside_the_package() -> None:
    # The wheel maps the folder kernels/ as a whole, so what lies in it travels.
    assert FOLDER.name == "cuda"
    assert (FOLDER / "__init__.py").is_file()
