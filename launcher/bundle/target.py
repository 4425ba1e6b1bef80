"""What a bundle is made for: a version of Python, a processor, extras, and what is there already."""

from __future__ import annotations

import fnmatch
import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from dtrain.base.errors import LaunchError, expected

# glibc versions of wheels' tags, newest first. pip takes each name exactly, so every one that may occur is listed.
_GLIBC = (*range(45, 35, -1), 35, 34, 31, 28, 27, 26, 24, 17, 12, 5)
_OLD_NAMES = ("manylinux2014", "manylinux2010", "manylinux1")


@dataclass(frozen=True, slots=True)
class Target:
    """The machine that a bundle is for.

    Attributes:
        python: (major, minor) of its interpreter.
        machine: its processor, as `uname -m` says it.
        extras: dtrain's extras to install.
        present: patterns of package names that the machine has; they are left out, with what only they need.
        glibc: the minor version of its C library 2.x: no wheel for a newer one is taken.
        from_sources: compile there, whatever its Python is.
    """

    python: tuple[int, int]
    machine: str
    extras: tuple[str, ...]
    present: tuple[str, ...] = ()
    glibc: int = 28
    from_sources: bool = False

    @property
    def takes_wheels_from_here(self) -> bool:
        """Whether wheels that are built here are to run there."""
        return not self.from_sources and self.python == sys.version_info[:2] and self.machine == platform.machine()

    @property
    def requirement(self) -> str:
        """dtrain with its extras, as pip takes it."""
        return f"dtrain[{','.join(self.extras)}]" if self.extras else "dtrain"

    @property
    def version(self) -> str:
        return ".".join(map(str, self.python))

    def has(self, package: str) -> bool:
        """Whether the machine has this package, by name alone."""
        return any(fnmatch.fnmatch(normal_name(package), normal_name(pattern)) for pattern in self.present)

    def pip_flags(self) -> list[str]:
        """What lets `pip download` choose for the target instead of for this interpreter."""
        names = [f"manylinux_2_{minor}_{self.machine}" for minor in _GLIBC if minor <= self.glibc]
        if self.machine == "x86_64":
            names += [f"{name}_{self.machine}" for name in _OLD_NAMES]
        else:
            names.append(f"{_OLD_NAMES[0]}_{self.machine}")
        flags = ["--only-binary=:all:", "--implementation", "cp", "--python-version", self.version]
        for name in names:
            flags += ["--platform", name]
        return flags


def this_glibc() -> int:
    """The minor version of this machine's glibc, or that of manylinux_2_28 where it has another C library."""
    name, version = platform.libc_ver()
    return int(version.split(".")[1]) if name == "glibc" else 28


def normal_name(package: str) -> str:
    """`Foo_bar.baz` → `foo-bar-baz`, as package indexes compare names (PEP 503); `*` stays."""
    return re.sub(r"[-_.]+", "-", package).lower()


def parse_python(text: str) -> tuple[int, int]:
    """(3, 11) from "3.11". Raises LaunchError for anything else."""
    match = re.fullmatch(r"(\d+)\.(\d+)", text.strip())
    if match is None:
        raise LaunchError(expected("--python", "a version such as 3.11", repr(text)))
    return int(match[1]), int(match[2])


def parse_names(flag: str, text: str, known: Sequence[str] | None = None) -> tuple[str, ...]:
    """Names between commas, each once; among `known` where that is given."""
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if known is not None and (unknown := [name for name in names if name not in known]):
        raise LaunchError(expected(flag, "names among " + ", ".join(known), ", ".join(unknown)))
    return names
