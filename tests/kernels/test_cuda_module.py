"""Compiling CUDA sources: once, announced before a long wait, silent when CuPy has the binary on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.cuda_emulation import emulated_module
from helpers.cuda_emulation.emulated_cupy import emulated_cuda

from dtrain.kernels import cuda_kernels
from dtrain.kernels.cuda import module

pytestmark = pytest.mark.emulation


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty kernel cache under the emulation."""
    if emulated_module.COMPILER is None:
        pytest.skip("no host C++ compiler to run the CUDA sources with")
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "kernels"))
    with emulated_cuda():
        yield tmp_path / "kernels"


def test_the_first_compilation_is_announced_and_no_other(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = module.function_of("add_at.cu", "add_at_f32")
    assert capsys.readouterr().err == f"dtrain: compiling add_at.cu for sm_00 (once; kept in {cache})\n"
    assert module.function_of("add_at.cu", "add_at_f32") is first
    module.function_of("add_at.cu", "add_at_f64")
    cuda_kernels.forget_compiled()  # as a new process would begin
    module.function_of("add_at.cu", "add_at_f32")
    assert capsys.readouterr().err == ""


def test_a_cache_that_cannot_be_written_costs_only_a_notice(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cache.parent.mkdir(exist_ok=True)
    cache.write_text("a file where the folder should be")
    module.function_of("add_at.cu", "add_at_f32")
    assert "compiling add_at.cu" in capsys.readouterr().err


def test_line_directives_point_into_the_files() -> None:
    lines = module.source_of("softmax_cross_entropy.cu").splitlines()
    for number, line in enumerate(lines):
        if line.startswith("#line"):
            _, start, file = line.split()
            original = (module.FOLDER / file.strip('"')).read_text().splitlines()
            following = lines[number + 1]
            if not following.startswith("#line"):
                assert following in original[int(start) - 1 : int(start) + 1]
