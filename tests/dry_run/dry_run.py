"""Real CuPy without a GPU: its Python and Cython code runs against a stand-in for the driver and the run time.

`start()` loads the stand-in, imports CuPy and replaces, in memory, the entry points of the CUDA run time that CuPy's
extension modules contain. NVRTC is the real one (it needs no GPU), so every kernel is compiled; none computes. Names,
signatures, `out=`, casts, 0-d and 0-size arrays, devices, launch limits and counts are therefore real; numbers are not.
For x86-64 and the CuPy version that pyproject.toml pins. A tool for tests, never shipped.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
COUNTERS = ("launches", "to_device", "to_host", "on_device", "fills", "synchronizations", "allocations")
# Modules of CuPy that contain the run time; others reach it through these.
WITH_RUNTIME = ("runtime", "thrust", "cub", "_generator_api")
# Libraries that are stood in for by functions which only count: how CuPy calls them is real, what they compute is not.
# What CuPy looks for beside cuBLAS, and finds loaded already.
EMPTY_LIBRARIES = ("libcublasLt.so.13",)
LIBRARIES = ("cublas", "cusolver", "cusparse", "curand")
_PAGE = 4096
_READ_WRITE_EXECUTE = 7

# Which functions of a counted library answer something, in C; all others return 0.
_ANSWERS = """
int cublasCreate_v2(void** handle) { *handle = (void*)16; return 0; }
int cublasGetVersion_v2(void* handle, int* version) { *version = 130000; return 0; }
int cublasGetPointerMode_v2(void* handle, int* mode) { *mode = 0; return 0; }
int cublasGetMathMode(void* handle, int* mode) { *mode = 0; return 0; }
int cublasGetStream_v2(void* handle, void** stream) { *stream = 0; return 0; }
int cublasDestroy_v2(void* handle) { return 0; }
int cublasSetStream_v2(void* handle, void* stream) { return 0; }
int cublasSetPointerMode_v2(void* handle, int mode) { return 0; }
int cublasSetMathMode(void* handle, int mode) { return 0; }
"""


@dataclass(frozen=True)
class DryRun:
    """The stand-in that is running."""

    driver: ctypes.CDLL
    libraries: tuple[ctypes.CDLL, ...]

    def reset(self) -> None:
        """Count from zero."""
        self.driver.dry_run_reset()
        for library in self.libraries:
            library.dry_run_reset_calls()

    def counts(self) -> dict[str, int]:
        """What has happened since `reset`: launches, copies, fills, synchronizations, allocations, library calls."""
        into = (ctypes.c_longlong * len(COUNTERS))()
        self.driver.dry_run_counters(into)
        calls = sum(library.dry_run_calls() for library in self.libraries)
        return {**dict(zip(COUNTERS, into)), "library_calls": calls}

    def launches_by_kernel(self) -> dict[str, int]:
        """Launches of each kernel that was compiled here, most first."""
        found: dict[str, int] = {}
        for number in range(self.driver.dry_run_functions()):
            name = self.driver.dry_run_name(number).decode()
            found[name] = found.get(name, 0) + self.driver.dry_run_launches(number)
        return dict(sorted(((n, c) for n, c in found.items() if c), key=lambda pair: -pair[1]))

    def device_of(self, array: Any) -> int:
        """The device whose memory an array lies in, by its address; −1 for no device's."""
        return int(self.driver.dry_run_device_of(ctypes.c_size_t(array.data.ptr)))


def why_impossible() -> str:
    """One line for skipped tests; empty where a dry run can start."""
    from importlib.util import find_spec

    if find_spec("cupy") is None:
        return "no CuPy: make test-dry-run has it in an environment of its own"
    if not _headers():
        return "no CUDA headers: pip install 'dtrain[dry-run]'"
    if sysconfig.get_platform() != "linux-x86_64":
        return f"the entry points are those of x86-64, this is {sysconfig.get_platform()}"
    return ""


@cache
def start(folder: str) -> DryRun:
    """Build the stand-ins in `folder`, load them, and import CuPy on top. Once a process, before CuPy is imported."""
    assert "cupy" not in sys.modules, "the dry run has to start before CuPy is imported"
    driver = _offer_driver(_compile(Path(folder), "libdryrun.so", HERE / "stand_in.cpp"))
    driver.dry_run_name.restype = ctypes.c_char_p
    driver.dry_run_launches.restype = ctypes.c_longlong
    backends = _package_folder("cupy_backends")
    (Path(folder) / "empty.cpp").write_text("")
    for soname in EMPTY_LIBRARIES:
        ctypes.CDLL(str(_compile(Path(folder), soname, Path(folder) / "empty.cpp")))
    libraries = tuple(_counted_library(Path(folder), backends, name) for name in LIBRARIES)
    import cupy
    import cupy.cuda.cub
    import cupy.cuda.thrust
    import cupy.random

    _replace_runtime(driver, [_package_folder("cupy"), backends])
    cupy.cuda.set_allocator(None)  # every array is an allocation of its own, so that its device is known
    return DryRun(driver, libraries)


def _offer_driver(built: Path) -> ctypes.CDLL:
    """Let Python code that loads the driver get the stand-in. Not by its soname: NVRTC would ask it for more."""
    driver = ctypes.CDLL(str(built))

    class CDLL(ctypes.CDLL):
        def __init__(self, name: Any, *arguments: Any, **options: Any) -> None:
            super().__init__(str(built) if name == "libcuda.so.1" else name, *arguments, **options)

    ctypes.CDLL = CDLL  # type: ignore[misc]
    return driver


def _package_folder(name: str) -> Path:
    from importlib.util import find_spec

    spec = find_spec(name)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


@cache
def _headers() -> list[Path]:
    """The include folders of the CUDA wheels."""
    nvidia = [Path(entry) / "nvidia" for entry in sys.path]
    found = {
        path.parent for folder in nvidia if folder.is_dir() for path in folder.glob("*/include/cuda_runtime_api.h")
    }
    return sorted(found)


def _compile(folder: Path, soname: str, source: Path, *options: str) -> Path:
    built = folder / soname
    include = [f"-I{path}" for path in _headers()]
    hidden = ["-fvisibility=hidden", "-fvisibility-inlines-hidden"]
    command = [
        "g++",
        "-std=c++17",
        "-O1",
        "-w",
        "-shared",
        "-fPIC",
        *hidden,
        f"-Wl,-soname,{soname}",
        *include,
        *options,
    ]
    subprocess.run([*command, str(source), "-o", str(built)], check=True)
    return built


def _counted_library(folder: Path, backends: Path, name: str) -> ctypes.CDLL:
    """A library with every function that CuPy's module for it wants, each of which only counts."""
    (module,) = backends.glob(f"cuda/libs/{name}.*.so")
    needed = _output("readelf", "-d", str(module))
    found = re.search(rf"\[(lib{name}\.so[.0-9]*)\]", needed)
    assert found is not None, needed
    symbols = re.findall(rf" U ({name}\w+)@?(\S*)", _output("nm", "-D", "--undefined-only", str(module)))
    wanted = sorted({symbol for symbol, _ in symbols})
    versions = sorted({version for _, version in symbols if version})
    answers = [line for line in _ANSWERS.splitlines() if line.startswith(f"int {name}")]
    answered = {line[len("int ") :].partition("(")[0] for line in answers}
    lines = ["static long long calls;", "long long dry_run_calls(void) { return calls; }"]
    lines += ["void dry_run_reset_calls(void) { calls = 0; }", *answers]
    lines += [f"int {function}(void) {{ ++calls; return 0; }}" for function in wanted if function not in answered]
    source = folder / f"{name}.cpp"
    source.write_text('#pragma GCC visibility push(default)\nextern "C" {\n' + "\n".join(lines) + "\n}\n")
    script = folder / f"{name}.map"
    script.write_text("".join(f"{version} {{ global: *; }};\n" for version in versions))
    options = [f"-Wl,--version-script={script}"] if versions else []
    library = ctypes.CDLL(str(_compile(folder, found[1], source, *options)))  # CuPy's module finds it by its soname
    library.dry_run_calls.restype = ctypes.c_longlong
    return library


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _replace_runtime(driver: ctypes.CDLL, folders: list[Path]) -> None:
    modules = [
        path for folder in folders for path in folder.rglob("*.so") if path.name.partition(".")[0] in WITH_RUNTIME
    ]
    assert sorted({path.name.partition(".")[0] for path in modules}) == sorted(WITH_RUNTIME)
    for path in modules:
        _replace_entry_points(driver, path)


def _replace_entry_points(driver: ctypes.CDLL, module: Path) -> None:
    """Let every function of the run time in a loaded module begin with a jump to the stand-in's."""
    base = _loaded_at(module)
    libc = ctypes.CDLL(None)
    for line in _output("nm", str(module)).splitlines():
        match = re.match(
            r"([0-9a-f]+) [tTwW] (cuda[A-Z]\w*|__cudaPopCallConfiguration|__cudaRegisterFatBinaryEnd)$", line
        )
        if match is None:
            continue
        address = base + int(match[1], 16)
        # mov rax, target; jmp rax
        code = b"\x48\xb8" + _target(driver, match[2]).to_bytes(8, "little") + b"\xff\xe0"
        page = ctypes.c_void_p(address & -_PAGE)
        assert libc.mprotect(page, ctypes.c_size_t(2 * _PAGE), _READ_WRITE_EXECUTE) == 0
        ctypes.memmove(address, code, len(code))


def _loaded_at(module: Path) -> int:
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(module)):
            return int(line.partition("-")[0], 16)
    raise AssertionError(f"{module} is not loaded")


# What may do nothing: there is no queue to wait for, nothing to destroy, no error to remember.
_HARMLESS = re.compile(
    r"cuda(GetLastError|PeekAtLastError|StreamDestroy|StreamWaitEvent|StreamQuery|EventDestroy|EventRecord\w*|EventQuery"
    r"|DeviceEnablePeerAccess|FuncSetAttribute|MemPool\w*|DeviceSetLimit|Profiler\w*)"
)


def _target(driver: ctypes.CDLL, name: str) -> int:
    plain = re.sub(r"(_ptsz|_ptds)$|_v\d+$", "", name)
    for candidate in (name, plain):
        function = getattr(driver, f"stand_in_{candidate}", None)
        if function is not None:
            break
    else:
        function = (
            driver.stand_in_success if _HARMLESS.fullmatch(plain) or plain.startswith("__") else driver.stand_in_missing
        )
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address
