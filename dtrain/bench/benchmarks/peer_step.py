"""`dtrain bench peer_step`: one training step, traced and eager, beside PyTorch's ways to take it, in the same run.

All train the same sizes on the same batch with SGD and momentum, on the same number of threads. They take turns, so
that the machine's drift hits all alike; ratios are formed within each turn, and their median is what counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np

from dtrain.base.cuda import placement, synchronize
from dtrain.base.errors import expected
from dtrain.base.turns import Samples, repeated, take_turns
from dtrain.bench.fix_threads import fix_threads
from dtrain.bench.peer import pytorch
from dtrain.bench.report import Row, milliseconds, record, write
from dtrain.bench.training.contestants import BENCHMARK, EAGER_PEER, Setting, build, contestants, is_peer
from dtrain.bench.training.peak_memory import STATUS, PeakMemory, peak_memory
from dtrain.bench.training.torch_models import TORCH_MODELS
from dtrain.bench.training.workloads import WORKLOADS, add_size_flags, size_of

DESCRIPTION = """\
Time one training step beside PyTorch's (extra `peers`), in one process.

ratio is a contestant's time as a multiple of PyTorch eager's, speed the time of PyTorch's best over the contestant's:
above 1 it is faster than every way of PyTorch's that takes part. Both are formed within each turn.

examples:
  dtrain bench peer_step --model mlp --batch-size 64
  dtrain bench peer_step --model resnet18 --batch-size 16 --image-size 64 --turns 7
  dtrain bench peer_step --model small_transformer --length 128 --compile
  dtrain bench peer_step --model mobilenet_v2 --batch-size 16 --memory -J step.json
  dtrain bench peer_step --model resnet18 --device cuda
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the benchmark."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", choices=tuple(TORCH_MODELS), default="mlp", help="what to train (mlp)")
    parser.add_argument("--batch-size", type=int, default=None, help="samples (64; 16 of small_transformer)")
    add_size_flags(parser)
    parser.add_argument("--compile", action="store_true", help="a contestant more: torch.compile of the model")
    parser.add_argument("--memory", action="store_true", help="also the peak memory of each, in processes of their own")
    parser.add_argument("--turns", type=int, default=15, help="turns of each contestant (15)")
    parser.add_argument("--turn-seconds", type=float, default=0.2, help="least duration of one turn (0.2)")
    parser.add_argument("--device", default="cpu", help="where all contestants compute: cpu, cuda, cuda:1 (cpu)")
    parser.add_argument("--threads", type=int, default=1, help="threads of every contestant (1)")


def check(args: argparse.Namespace) -> None:
    """Raise `ValueError` for what cannot be measured."""
    size_of(args)
    for name in ("batch_size", "turns", "threads"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise ValueError(expected(f"--{name.replace('_', '-')}", "at least 1", str(value)))
    if args.memory and args.device != "cpu":
        raise ValueError(expected("--memory", "--device cpu, whose memory it counts", args.device))
    if args.memory and not STATUS.exists():
        raise ValueError(expected("--memory", f"Linux, which counts memory in {STATUS}", "another system"))


def run(args: argparse.Namespace) -> int:
    """Measure and print. Returns the exit code."""
    fix_threads(args.threads)
    setting = setting_of(args)
    torch = pytorch(BENCHMARK, args.threads)
    names = contestants(args.model, is_compiled=args.compile)
    device = placement(args.device)
    samples = {
        name: repeated(build(name, setting), least_seconds=args.turn_seconds, synchronize=lambda: synchronize(device))
        for name in names
    }
    measured = take_turns(samples, args.turns)
    memory = {name: peak_memory(name, setting) for name in names} if args.memory else {}
    facts = {"size": setting.size, "pytorch": torch.__version__} | ({"memory": _words(memory)} if memory else {})
    report = record(
        "peer_step",
        args,
        rows(measured, memory),
        model=args.model,
        batch_size=setting.batch_size,
        device=args.device,
        threads=args.threads,
        **facts,
    )
    _print(report)
    write(report, args, label="contestant", figure="median_ms")
    return 0


def setting_of(args: argparse.Namespace) -> Setting:
    """What is trained, where the command line leaves it open too."""
    is_text = WORKLOADS[args.model].vocabulary_size is not None
    return Setting(
        model=args.model,
        batch_size=args.batch_size or (16 if is_text else 64),
        size=size_of(args),
        device=args.device,
        threads=args.threads,
    )


def rows(measured: Mapping[str, Samples], memory: Mapping[str, PeakMemory]) -> list[Row]:
    """A row a contestant: its times, ratio, speed over PyTorch's best in each turn, and its memory if that is known."""
    peers = [samples.seconds for name, samples in measured.items() if is_peer(name)]
    best = Samples(tuple(min(turn) for turn in zip(*peers)))
    found: list[Row] = []
    for name, samples in measured.items():
        ratio, speed = samples.ratio_to(measured[EAGER_PEER]), best.ratio_to(samples)
        row = {
            "contestant": name,
            **milliseconds(samples),
            "ratio_to_pytorch": ratio.median,
            "ratio_min": ratio.least,
            "ratio_max": ratio.greatest,
            "speed_over_best": speed.median,
            "speed_over_best_min": speed.least,
            "speed_over_best_max": speed.greatest,
        }
        found.append(row | ({"peak_mib": memory[name].mebibytes} if memory else {}))
    return found


def _words(memory: Mapping[str, PeakMemory]) -> str:
    if all(peak.is_reset for peak in memory.values()):
        return "VmHWM, reset where counting began"
    return "VmHWM, which could not be reset where counting began: imports may have raised it"


def _print(report: Mapping[str, Any]) -> None:
    unit = "tokens" if WORKLOADS[report["model"]].vocabulary_size else "pixels a side"
    print(
        f"{report['model']}, batch {report['batch_size']}, {report['size']} {unit}, {report['threads']} thread(s), "
        f"{report['device']}, NumPy {np.__version__}, PyTorch {report['pytorch']}"
    )
    head = f"{'contestant':22}{'median ms':>11}{'min':>9}{'max':>9}{'ratio':>8}{'min':>7}{'max':>7}"
    print(f"{head}{'speed':>8}{'min':>7}{'max':>7}{'peak MiB' if 'memory' in report else '':>10}".rstrip())
    for row in report["rows"]:
        line = f"{row['contestant']:22}{row['median_ms']:>11.3f}{row['min_ms']:>9.3f}{row['max_ms']:>9.3f}"
        line += f"{row['ratio_to_pytorch']:>8.2f}{row['ratio_min']:>7.2f}{row['ratio_max']:>7.2f}"
        line += f"{row['speed_over_best']:>8.2f}{row['speed_over_best_min']:>7.2f}{row['speed_over_best_max']:>7.2f}"
        print(line + (f"{row['peak_mib']:>10.1f}" if "peak_mib" in row else ""))
    print("ratio: time over PyTorch eager's; speed: time of PyTorch's best over this one's")
    if "memory" in report:
        print("peak: resident memory above that before model and batch were built, first step included")
        print(f"      ({report['memory']})")
