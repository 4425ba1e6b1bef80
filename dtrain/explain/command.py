"""`dtrain explain SUBJECT …`: hand on to the subject's own module, imported when it is asked for.

A subject is a module in `subjects/` with `add_arguments(parser)` and `run(args) -> int`; the first line of its
docstring stands in the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dtrain.base.errors import DtrainError, expected
from dtrain.base.module_folder import ModuleFolder
from dtrain.base.rank_info import rank_tag
from dtrain.launcher.command.flags import TeachingParser
from dtrain.launcher.plan.spec import UsageError

SUBJECTS = ModuleFolder("dtrain.explain.subjects", Path(__file__).parent / "subjects")
USAGE = 'usage: dtrain explain SUBJECT …, such as dtrain explain kernel "relu f32[4096]"'


def explain(arguments: Sequence[str]) -> int:
    """Explain one subject; the exit status."""
    if not arguments or arguments[0] in ("-h", "--help", "--list", "-l"):
        print("\n".join([USAGE, "", *SUBJECTS.listing(), "", "dtrain explain SUBJECT --help says more."]))
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in SUBJECTS.names:
        raise UsageError(expected("dtrain explain", "one of " + ", ".join(SUBJECTS.names), repr(name)))
    parser = TeachingParser(prog=f"dtrain explain {name}", allow_abbrev=False)
    module = SUBJECTS.load(name)
    module.add_arguments(parser)
    args = parser.parse_args(rest)
    try:
        return int(module.run(args))
    except (ValueError, DtrainError) as error:
        parser.error(str(error).removeprefix(rank_tag()))
