"""`dtrain bench peer_step`: one training step, traced and eager, beside PyTorch's eager step in the same run.

All three train the same sizes on the same batch with SGD and momentum, on the same number of threads. They take turns,
so that the machine's drift hits all alike; the ratio is formed within each turn, and its median is what counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from dtrain.base.cuda import placement, synchronize
from dtrain.base.device import Device
from dtrain.base.turns import Samples, repeated, take_turns
from dtrain.bench.fix_threads import fix_threads
from dtrain.bench.peer import pytorch
from dtrain.bench.report import milliseconds, record, write
from dtrain.bench.training.torch_models import TORCH_MODELS, build_torch
from dtrain.bench.training.workloads import WORKLOADS, training_step
from dtrain.capture.trace import trace

DESCRIPTION = """\
Time one training step beside PyTorch's (extra `peers`), in one process.

examples:
  dtrain bench peer_step --model mlp --batch-size 64
  dtrain bench peer_step --model resnet18 --batch-size 16 --image-size 64 --turns 7
  dtrain bench peer_step --model resnet18 --device cuda
"""

Step = Callable[[], Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the benchmark."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--model", choices=tuple(TORCH_MODELS), default="mlp", help="what to train (mlp)")
    parser.add_argument("--batch-size", type=int, default=64, help="samples (64)")
    parser.add_argument("--image-size", type=int, default=None, help="pixels a side (64 for resnet18, 8 for mlp)")
    parser.add_argument("--turns", type=int, default=15, help="turns of each contestant (15)")
    parser.add_argument("--turn-seconds", type=float, default=0.2, help="least duration of one turn (0.2)")
    parser.add_argument("--device", default="cpu", help="where all contestants compute: cpu, cuda, cuda:1 (cpu)")
    parser.add_argument("--threads", type=int, default=1, help="threads of every contestant (1)")


def run(args: argparse.Namespace) -> int:
    """Measure and print. Returns the exit code."""
    fix_threads(args.threads)
    device = placement(args.device)
    samples = {
        name: repeated(step, least_seconds=args.turn_seconds, synchronize=lambda: synchronize(device))
        for name, step in _contestants(args, device).items()
    }
    report = _report(args, take_turns(samples, args.turns))
    _print(report)
    write(report, args, label="contestant", figure="median_ms")
    return 0


def _contestants(args: argparse.Namespace, device: Device) -> dict[str, Step]:
    pytorch("bench peer_step", args.threads)
    workload = WORKLOADS[args.model]
    batch = workload.batch(args.batch_size, args.image_size or workload.default_size, seed=0)
    images, labels = (tensor.to(device) for tensor in batch)
    eager = training_step(workload.build().to(device))
    traced = trace(training_step(workload.build().to(device)))
    return {
        "dtrain traced": lambda: traced(images, labels),
        "dtrain eager": lambda: eager(images, labels),
        "PyTorch eager": _torch_step(args.model, images.numpy(), labels.numpy(), device),
    }


def _torch_step(name: str, images: np.ndarray, labels: np.ndarray, device: Device) -> Step:
    import torch

    model = build_torch(name).to(str(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    inputs, targets = (torch.from_numpy(array).to(str(device)) for array in (images, labels))

    def step() -> Any:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        return loss

    return step


def _report(args: argparse.Namespace, measured: dict[str, Samples]) -> dict[str, Any]:
    rows = []
    for name, samples in measured.items():
        ratio = samples.ratio_to(measured["PyTorch eager"])
        rows.append(
            {
                "contestant": name,
                **milliseconds(samples),
                "ratio_to_pytorch": ratio.median,
                "ratio_min": ratio.least,
                "ratio_max": ratio.greatest,
            }
        )
    return record(
        "peer_step",
        args,
        rows,
        model=args.model,
        batch_size=args.batch_size,
        device=args.device,
        threads=args.threads,
    )


def _print(report: dict[str, Any]) -> None:
    import torch

    print(
        f"{report['model']}, batch {report['batch_size']}, {report['threads']} thread(s), {report['device']}, "
        f"NumPy {np.__version__}, PyTorch {torch.__version__}"
    )
    print(f"{'contestant':16}{'median ms':>11}{'min':>9}{'max':>9}{'ratio':>9}{'min':>8}{'max':>8}")
    for row in report["rows"]:
        print(
            f"{row['contestant']:16}{row['median_ms']:>11.3f}{row['min_ms']:>9.3f}{row['max_ms']:>9.3f}"
            f"{row['ratio_to_pytorch']:>9.2f}{row['ratio_min']:>8.2f}{row['ratio_max']:>8.2f}"
        )
