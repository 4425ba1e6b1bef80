"""What is no Python script where `dtrain run` wants one: an interpreter, another launcher, a shell script, a slip."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from dtrain.base.flag_names import FLAGS

# Programs that start ranks: `dtrain run` stands in their place.
STARTERS = ("dtrain", *(name.split()[0] for name in FLAGS))
SHELLS = ("sh", "bash", "dash", "zsh", "ksh")
_IN_SHELL = "ranks run Python; call `dtrain run train.py` inside of the shell script, and start that by itself"


def misplaced_program(script: str, arguments: Sequence[str]) -> str:
    """What to write instead of `dtrain run python train.py`; "" where the script may be one."""
    name = Path(script).name
    # Not a script, whatever lies there: an interpreter.
    if re.fullmatch(r"python(\d(\.\d+)?)?", name):
        return f"leave {name} out: dtrain run {_script_among(arguments)}"
    if Path(script).is_file():
        return _IN_SHELL if _is_for_a_shell(Path(script)) else ""
    if name in STARTERS:
        return f"leave {name} and its flags out: dtrain run -np 2 {_script_among(arguments)}"
    return _IN_SHELL if name in SHELLS else ""


def near_script(script: str) -> str:
    """A hint at the file that was meant by one that is not there; "" where none is near."""
    path = Path(script)
    try:
        names = [one.name for one in path.parent.iterdir() if one.suffix == ".py"]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name.removesuffix(".py") + ".py", names, n=1, cutoff=0.7)
    return f"did you mean {path.parent / near[0]}?" if near else ""


def _script_among(arguments: Sequence[str]) -> str:
    """`train.py`, or `-m pkg.train`, out of a whole command line."""
    scripts = [word for word in arguments if word.endswith(".py")]
    if "-m" in arguments[:-1] and not scripts:
        return f"-m {arguments[arguments.index('-m') + 1]}"
    return scripts[0] if scripts else "train.py"


def _is_for_a_shell(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            first = stream.readline(200)
    except OSError:
        return False  # whoever runs it will say why
    return path.suffix == ".sh" or (first.startswith(b"#!") and re.search(rb"\b(ba|da|z|k)?sh\b", first) is not None)
