"""`import dtrain` is quick and quiet: no MPI, no GPU library, no Ray, no progress bars."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone

FORBIDDEN = (
    "mpi4py",
    "ray",
    "cupy",
    "rich",
    "torch",
    "safetensors",
    "multiprocessing",
    "dtrain.collectives",
    "dtrain.launcher",
)
LIMIT_SECONDS = 0.3

PROBE = """
import json
import sys
import time
begin, cpu = time.perf_counter(), time.process_time()
import dtrain
seconds = time.perf_counter() - begin, time.process_time() - cpu
print(json.dumps({"seconds": min(seconds), "modules": sorted(sys.modules)}))
"""


def probe(bytecode: Path) -> dict:
    # As after an installation: with compiled bytecode, which an environment may have switched off.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE],
        capture_output=True, text=True, timeout=60, check=True, env=environment,
    )  # fmt: skip
    assert result.stderr == ""
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def probes(tmp_path_factory):
    bytecode = tmp_path_factory.mktemp("bytecode")
    return [probe(bytecode) for _ in range(4)][1:]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_heavy_modules_stay_out(probes, name):
    assert [module for module in probes[0]["modules"] if module == name or module.startswith(f"{name}.")] == []


def test_importing_is_quick(probes):
    # CPU seconds where other processes press: what counts is the work that importing makes.
    best = min(result["seconds"] for result in probes)
    assert best < LIMIT_SECONDS


@pytest.mark.parametrize("name", ["checkpoint", "collectives", "launcher", "models"])
def test_upper_floors_are_imported_when_used(name):
    code = f"import dtrain, sys; assert 'dtrain.{name}' not in sys.modules; print(dtrain.{name}.__name__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == f"dtrain.{name}", result.stderr


def test_the_public_names_are_there():
    import dtrain as dt

    assert dt.float32.tag == "f32" and dt.device("cpu").is_cpu and {"nn", "models", "seed", "trace"} <= set(dir(dt))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = dt.nonsense


def test_an_install_puts_no_folder_of_others_on_the_path():
    """What lies beside a clone (a stray tests.py, a cuda.py) would be found before modules of others."""
    program = "import json, sys; print(json.dumps(sys.path))"
    found = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    tree = Path(__file__).resolve().parents[1]
    assert not [path for path in json.loads(found.stdout) if path and Path(path).resolve() in tree.parents]
