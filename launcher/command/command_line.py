"""A command line of `dtrain run` taken apart: flags by their exact spelling, then the script, and all else is its own.

argparse would take `-p` for `-ppn`, call `-host` ambiguous and eat a script's own `--`. What nobody here knows gets a
hint: what another launcher's flag is called here, or the nearest of ours.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dtrain.base.flag_names import FLAGS as PEERS_FLAGS

# A value right behind a short flag, as in `-n4`; anything else there is another word.
_ATTACHED = {"-n": r"\d+", "-N": r"\d+", "-x": r"[A-Za-z_]\w*(=.*)?", "-H": r"[^,]*[:,].*"}
_MODULE = ("-m", "--module")
_HELP = ("-h", "--help")


class TakesValue(Protocol):
    """What is known of a flag here."""

    @property
    def name(self) -> str: ...
    @property
    def is_switch(self) -> bool: ...


class UnknownFlagError(ValueError):
    """A flag that cannot be understood, with what to do."""


@dataclass(frozen=True, slots=True)
class CommandLine:
    """`flags` in one form, `--name=value` or `--name`; the script ("" for none) and what belongs to it."""

    flags: tuple[str, ...]
    script: str
    arguments: tuple[str, ...]
    as_module: bool


def take_apart(arguments: Sequence[str], table: Mapping[str, TakesValue]) -> CommandLine:
    """Read flags up to the script. `table` has every spelling. Raises `UnknownFlagError`."""
    flags: list[str] = []
    as_module = False
    position = 0
    while position < len(arguments):
        word = arguments[position]
        if word == "--":
            position += 1
            break
        if not word.startswith("-") or word == "-":
            break
        position += 1
        if word in _MODULE:
            as_module = True
        elif word in _HELP:
            flags.append(word)
        else:
            taken, used = read_flag(word, arguments[position:], table)
            flags += taken
            position += used
    script = arguments[position] if position < len(arguments) else ""
    return CommandLine(tuple(flags), script, tuple(arguments[position + 1 :]), as_module)


def read_flag(word: str, rest: Sequence[str], table: Mapping[str, TakesValue]) -> tuple[list[str], int]:
    """One flag in its one form, and how many words of `rest` are its value. Raises `UnknownFlagError`."""
    spelling, value = split_flag(word, table)
    if spelling not in table:
        raise UnknownFlagError(unknown_flag(word, table))
    flag = table[spelling]
    if flag.is_switch:
        if value is not None:
            raise UnknownFlagError(f"argument {spelling}: expected no value, got {value!r}")
        return [f"--{flag.name}"], 0
    if value is not None:
        return [f"--{flag.name}={value}"], 0
    if not rest or (rest[0].startswith("-") and rest[0] in table):
        raise UnknownFlagError(f"argument {spelling}: expected a value, got {rest[0] if rest else 'nothing'}")
    return [f"--{flag.name}={rest[0]}"], 1


def split_flag(word: str, table: Collection[str]) -> tuple[str, str | None]:
    """`--name=value`, `-n4` or a bare flag as spelling and value."""
    spelling, equals, value = word.partition("=")
    if spelling in table:
        return spelling, value if equals else None
    short, attached = word[:2], word[2:]
    if short in table and re.fullmatch(_ATTACHED.get(short, "$^"), attached):
        return short, attached
    return spelling, value if equals else None


def unknown_flag(word: str, table: Collection[str]) -> str:
    """Words for a flag that is not in the table."""
    return f"unrecognized arguments: {word}; {_hint(word.partition('=')[0], table)}"


def _hint(name: str, table: Collection[str]) -> str:
    for starter, flags in PEERS_FLAGS.items():
        for theirs, ours in flags.items():
            spelling = theirs.partition(" ")[0]
            if _bare(spelling) == _bare(name) and spelling not in table:
                said = f"`{theirs}` of {starter}"
                return f"{said} is `{ours}` here" if ours.startswith("-") else f"{said}: {ours}"
    near = difflib.get_close_matches(name, list(table), n=1, cutoff=0.6)
    if not near:
        near = [spelling for spelling in table if _bare(spelling) == _bare(name)][:1]
    return f"did you mean {near[0]}?" if near else "flags of the script stand behind the script"


def _bare(spelling: str) -> str:
    return spelling.lstrip("-").replace("_", "-")
