"""`dtrain explain SUBJECT …`: hand on to the subject's own module, imported when it is asked for.

A subject is a module with `add_arguments(parser)` and `run(args) -> int`.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from dtrain.base.errors import DtrainError, expected
from dtrain.base.rank_info import rank_tag
from dtrain.launcher.command.flags import TeachingParser
from dtrain.launcher.plan.spec import UsageError

SUBJECTS = {"kernel": "dtrain.explain.kernel", "memory": "dtrain.explain.memory", "graph": "dtrain.explain.graph"}

HELP = """\
usage: dtrain explain SUBJECT …

  dtrain explain kernel "relu f32[4096]"    which kernel computes an op on given types, and why
  dtrain explain memory resnet50            where the memory of a training step goes
  dtrain explain graph train.py             the graph of a traced function, and what each pass changed and why

dtrain explain SUBJECT --help says more.
"""


def explain(arguments: Sequence[str]) -> int:
    """Explain one subject; the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in SUBJECTS:
        raise UsageError(expected("dtrain explain", "one of " + ", ".join(SUBJECTS), repr(name)))
    parser = TeachingParser(prog=f"dtrain explain {name}", allow_abbrev=False)
    module = import_module(SUBJECTS[name])
    module.add_arguments(parser)
    args = parser.parse_args(rest)
    try:
        return int(module.run(args))
    except (ValueError, DtrainError) as error:
        parser.error(str(error).removeprefix(rank_tag()))
