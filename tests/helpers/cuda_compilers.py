"""The CUDA compilers that a machine may have: nvcc of a toolkit, or NVRTC, which CuPy uses. Neither needs a GPU."""

from __future__ import annotations

import ctypes
import ctypes.util
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

Compile = Callable[[str, str], bytes]  # (source, architecture such as sm_80) -> binary; raises AssertionError


@dataclass(frozen=True)
class CudaCompiler:
    """One compiler: its name with version, and how to call it."""

    name: str
    compile: Compile


def find_compilers(options: tuple[str, ...], folder: Path) -> list[CudaCompiler]:
    """Every compiler of this machine. `folder` takes temporary files."""
    return [found for found in (_nvcc(options, folder), _nvrtc(options)) if found is not None]


def _nvcc(options: tuple[str, ...], folder: Path) -> CudaCompiler | None:
    program = shutil.which("nvcc") or shutil.which("nvcc", path="/usr/local/cuda/bin")
    if program is None:
        return None
    version = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60, check=True).stdout
    release = next(line for line in version.splitlines() if "release" in line).split("release ")[1].split(",")[0]

    def compile(source: str, architecture: str) -> bytes:
        text, binary = folder / f"source_{architecture}.cu", folder / f"source_{architecture}.cubin"
        text.write_text(source)
        command = [program, "-cubin", f"-arch={architecture}", *options, "-Werror=all-warnings", "-o", binary, text]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr
        return binary.read_bytes()

    return CudaCompiler(f"nvcc {release}", compile)


def _nvrtc_library() -> str | None:
    """The library of a toolkit or of the wheel nvidia-cuda-nvrtc."""
    name = ctypes.util.find_library("nvrtc")
    if name is not None:
        return name
    spec = find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec is not None else []:
        for found in sorted(Path(folder).glob("*/lib/libnvrtc.so.*")):
            return str(found)
    return None


def _nvrtc(options: tuple[str, ...]) -> CudaCompiler | None:
    path = _nvrtc_library()
    if path is None:
        return None
    library = ctypes.CDLL(path)
    major, minor = ctypes.c_int(), ctypes.c_int()
    assert library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)) == 0

    def compile(source: str, architecture: str) -> bytes:
        program = ctypes.c_void_p()
        assert library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"source.cu", 0, None, None) == 0
        flags = [option.encode() for option in (*options, f"--gpu-architecture={architecture}")]
        status = library.nvrtcCompileProgram(program, len(flags), (ctypes.c_char_p * len(flags))(*flags))
        assert status == 0, _text(library.nvrtcGetProgramLogSize, library.nvrtcGetProgramLog, program).decode()
        return _text(library.nvrtcGetCUBINSize, library.nvrtcGetCUBIN, program)

    return CudaCompiler(f"NVRTC {major.value}.{minor.value}", compile)


def _text(get_size: Callable[..., int], get: Callable[..., int], program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    assert get_size(program, ctypes.byref(size)) == 0
    buffer = ctypes.create_string_buffer(size.value)
    assert get(program, buffer) == 0
    return buffer.raw
