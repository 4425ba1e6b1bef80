"""Run the GPU tests and benchmarks of the sources in a bundle, and write one text and one JSON report.

    python gpu_check.py BUNDLE FOLDER

Runs on the target, in the environment that install.sh made, with Python alone. A step that fails does not hold up the
next one.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

STEP_SECONDS = 1500
KEPT_CHARACTERS = 20_000
# What the tests need of the sources. The packages themselves come from the environment.
PARTS = ("tests", "examples", "docs", "Makefile", "pyproject.toml", "mkdocs.yml", "README.md", "CONTRIBUTING.md")


def steps(folder: Path) -> list[tuple[str, list[str]]]:
    """(name, command), in order."""
    environment = folder / "environment"
    python, dtrain = str(environment / "bin" / "python"), str(environment / "bin" / "dtrain")
    # As installed already: make has nothing to compare the environment with, and takes it as it is.
    tests = ["make", "-o", str(environment / ".installed"), "SOURCES=", f"VENV={environment}", "test-gpu"]
    if shutil.which("make") is None:
        tests = [python, "-m", "pytest", "-m", "gpu"]  # the line of that target
    return [
        ("driver", ["nvidia-smi"]),
        ("doctor", [dtrain, "doctor"]),
        ("tests", tests),
        ("kernels", [dtrain, "bench", "kernels", "--device", "cuda", "--json", str(folder / "kernels.json")]),
    ]


def unpack(bundle: Path, folder: Path) -> Path:
    """The sources' tests in a folder where `import dtrain` finds the installed one."""
    (archive,) = bundle.glob("wheels/dtrain-*.tar.gz")
    scratch, work = folder / "unpacked", folder / "work"
    for old in (scratch, work):
        shutil.rmtree(old, ignore_errors=True)
    with tarfile.open(archive) as packed:
        if hasattr(tarfile, "data_filter"):
            packed.extractall(scratch, filter="data")
        else:
            packed.extractall(scratch)
    (root,) = scratch.iterdir()
    work.mkdir()
    for part in PARTS:
        if (root / part).exists():
            shutil.move(str(root / part), work / part)
    shutil.rmtree(scratch)
    return work


def run(name: str, command: list[str], work: Path) -> dict[str, Any]:
    """One step: its exit code, seconds, and the end of what it printed."""
    print(f"== {name}: {' '.join(command)}", flush=True)
    start = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=STEP_SECONDS, check=False
        )
        code, output = done.returncode, done.stdout
    except FileNotFoundError:
        code, output = 127, f"{command[0]}: no such program".encode()
    except subprocess.TimeoutExpired as late:
        code, output = 124, (late.stdout or b"") + f"\nstopped after {STEP_SECONDS} s".encode()
    text = output.decode(errors="replace")
    seconds = time.monotonic() - start
    print(text[-2000:], f"-- {name}: exit code {code} after {seconds:.1f} s", sep="\n", flush=True)
    return {"name": name, "command": command, "code": code, "seconds": round(seconds, 2), "output": text}


def main(bundle: Path, folder: Path) -> int:
    """Run everything; 0 if every step ended well."""
    work = unpack(bundle, folder)
    results = [run(name, command, work) for name, command in steps(folder)]
    figures = folder / "kernels.json"
    report = {
        "bundle": json.loads((bundle / "bundle.json").read_text()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "steps": [{**step, "output": step["output"][-KEPT_CHARACTERS:]} for step in results],
        "kernels": json.loads(figures.read_text()) if figures.exists() else None,
    }
    (folder / "gpu_check.json").write_text(json.dumps(report, indent=1) + "\n")
    texts = [
        f"== {s['name']}: {' '.join(s['command'])}\n{s['output']}\n-- exit code {s['code']}, {s['seconds']} s"
        for s in results
    ]
    (folder / "gpu_check.txt").write_text("\n\n".join(texts) + "\n")
    failed = [step["name"] for step in results if step["code"] != 0]
    print(f"reports: {folder / 'gpu_check.txt'}, {folder / 'gpu_check.json'}")
    print("failed: " + ", ".join(failed) if failed else "everything passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
