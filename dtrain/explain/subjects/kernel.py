"""`dtrain explain kernel PROBLEM`: which kernel computes an op on given types, and why none of the others.

A problem is an op, the types of its inputs and its attributes, as graphs print them:

    dtrain explain kernel "conv2d f32[8,64,56,56] f32[64,64,3,3] stride=1,1 padding=1,1 dilation=1,1 groups=1"
    dtrain explain kernel "softmax f32[64,1000] axis=-1" --isa avx2        without AVX-512
    dtrain explain kernel "relu f32[4096]" --measure                       time them all, and remember it
    dtrain explain kernel "relu f32[4096]" --json

Training chooses by cost; DTRAIN_KERNELS=measured takes what was measured, DTRAIN_KERNELS=NAME a kernel by its name, and
DTRAIN_ISA caps the features.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace

import dtrain.collectives  # noqa: F401 - the ops of all floors, by their names
from dtrain.explain.problem_text import parse_problem
from dtrain.kernels import candidates, current_policy
from dtrain.kernels.explanation import explain
from dtrain.kernels.measured import measure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line."""
    parser.description = __doc__
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("problem", nargs="+", metavar="PROBLEM", help="op, types and attributes, in quotes or not")
    parser.add_argument("--isa", default="", help="cap the features: avx2, scalar, reference, or avx2,fma (DTRAIN_ISA)")
    parser.add_argument("--measure", action="store_true", help="time all usable kernels here, and remember the times")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the explanation; the exit status. Raises ValueError or DtrainError for a problem that is none."""
    problem = parse_problem(" ".join(args.problem))
    policy = current_policy()
    if args.isa:
        policy = replace(policy, isa=args.isa)
    if args.measure:
        usable = candidates(problem, policy)
        if len(usable) > 1:
            measure(problem, usable)
        policy = replace(policy, order="measured")
    found = explain(problem, policy)
    print(json.dumps(found.as_dict(), indent=1) if args.json else found)
    return 0
