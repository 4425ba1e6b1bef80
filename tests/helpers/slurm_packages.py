"""Debian's Slurm in a folder of this project, for tests: fetched and unpacked, not installed.

`python slurm_packages.py FOLDER` makes `FOLDER/bin` with one small script a program. Each calls the loader with the
folder's libraries, so that no variable of ours reaches the jobs, whose MPI has libraries of its own.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

# libpmix2 is what `srun --mpi=pmix` loads; the others are the daemons and the commands.
WANTED = ("slurmctld", "slurmd", "slurm-client", "munge", "libpmix2")
DAEMONS = {"slurmctld": "slurmctld-wlm", "slurmd": "slurmd-wlm", "slurmstepd": "slurmstepd-wlm", "munged": "munged"}
# A network that swallows packets shall not hold the tests up for long.
PATIENCE = ("-o", "Acquire::http::Timeout=10", "-o", "Acquire::https::Timeout=10", "-o", "Acquire::Retries=1")


class NoPackagesError(Exception):
    """Why there is no Slurm, in words for the reason of a skipped test."""


def prepare(folder: Path) -> None:
    """Fetch, unpack and write the scripts; nothing to do where that is done. Raises `NoPackagesError`."""
    if (folder / "ready").exists():
        return
    if not all(map(shutil.which, ("apt-get", "dpkg"))):
        raise NoPackagesError("Slurm comes as Debian's packages, and there is no apt-get or dpkg here")
    shutil.rmtree(folder, ignore_errors=True)
    fetched = folder / "packages"
    fetched.mkdir(parents=True)
    _run("apt-get", *PATIENCE, "download", *_missing(folder), folder=fetched)
    for package in fetched.glob("*.deb"):
        _run("dpkg", "-x", str(package), str(folder / "root"), folder=folder)
    try:
        _write_scripts(folder)
    except (OSError, StopIteration) as error:
        raise NoPackagesError(
            f"Slurm's packages of this system lie in another way than Debian 12's: {error!r}"
        ) from None
    (folder / "ready").touch()


def _missing(folder: Path) -> list[str]:
    """The packages that an installation would bring, by the lists of this machine; nothing is installed."""
    try:
        said = _run("apt-get", "install", "--simulate", "--no-install-recommends", *WANTED, folder=folder)
    except NoPackagesError as error:
        raise NoPackagesError(f"{error}; `apt-get update` may be missing") from None
    found = [line.split()[1] for line in said.splitlines() if line.startswith("Inst ")]
    if not found:
        raise NoPackagesError(f"apt-get would install nothing for {', '.join(WANTED)}: installed already, use those")
    return found


def _write_scripts(folder: Path) -> None:
    root, scripts = folder / "root", folder / "bin"
    scripts.mkdir()
    libraries = next(root.glob("usr/lib/*/slurm-wlm"))
    _let_pmix_be_found(libraries)
    programs = {path.name: path for path in (root / "usr/bin").iterdir()}
    programs |= {name: root / "usr/sbin" / file for name, file in DAEMONS.items()}
    for name, program in programs.items():
        words = f'{_loader(program)} --argv0 "$0" --library-path {libraries.parent}:{libraries} {program}'
        (scripts / name).write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        (scripts / name).chmod(0o755)


def _let_pmix_be_found(libraries: Path) -> None:
    """The plugin of `srun --mpi=pmix` asks for a file of the -dev package in a folder of the system's: let it ask for
    the name alone, which the loader finds in our folder.
    """
    plugin = libraries / "mpi_pmix_v4.so"
    before = plugin.read_bytes()
    after = before.replace(b"%s/\0libpmix.so\0", b"\0s/\0libpmix.so\0")
    plugin.write_bytes(after)
    (libraries.parent / "libpmix.so").symlink_to("libpmix.so.2")


def _loader(program: Path) -> str:
    """The dynamic loader that a program names in its head."""
    found = re.search(rb"/lib[\w/.-]*/ld-linux[\w.-]*", program.resolve().read_bytes()[:4096])
    if found is None:
        raise NoPackagesError(f"{program} names no dynamic loader")
    return found[0].decode()


def _run(*command: str, folder: Path) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoPackagesError(str(error)) from None
    if done.returncode != 0:
        raise NoPackagesError(f"{' '.join(command[:2])}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


if __name__ == "__main__":
    try:
        prepare(Path(sys.argv[1]).resolve())
    except NoPackagesError as error:
        print(f"no Slurm to test with: {error}")
