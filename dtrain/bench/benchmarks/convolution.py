"""`dtrain bench convolution`: the layers of known networks in all three directions, beside PyTorch in the same run.

A layer is computed by the kernel that is chosen for it, bound to its arrays as a traced step binds it, against the
better of PyTorch's two memory orders, weights included. All take turns; the ratio is formed within each.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtrain.base.dtype import float32
from dtrain.base.errors import expected
from dtrain.base.tensor_type import tensor_type
from dtrain.base.turns import repeated, take_turns
from dtrain.bench.fix_threads import fix_threads
from dtrain.bench.peer import beside_peer, pytorch, speeds_to_peer
from dtrain.bench.report import record, write
from dtrain.kernels.choice import choose
from dtrain.kernels.problem import Problem
from dtrain.kernels.workspace import bind_alone
from dtrain.opset.convolution import output_shape

DESCRIPTION = """\
Time convolution layers, forward and both gradients, on one thread in f32.

examples:
  dtrain bench convolution
  dtrain bench convolution --peer torch --batch-size 8 -J layers.json
  dtrain bench convolution --layer "3×3 64 56²" --layer "depthwise 144 56²"
"""
DIRECTIONS = ("conv2d", "conv2d_backward_data", "conv2d_backward_weights")


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution of square images: channels in and out, pixels a side, and what its kernel does."""

    channels: int
    outputs: int
    size: int
    kernel: int
    stride: int = 1
    groups: int = 1
    dilation: int = 1

    @property
    def padding(self) -> int:
        return self.dilation * (self.kernel - 1) // 2

    @property
    def attrs(self) -> dict[str, Any]:
        pairs = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return {**{name: (value, value) for name, value in pairs.items()}, "groups": self.groups}

    def shapes(self, batch: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Of x, w and y."""
        x = (batch, self.channels, self.size, self.size)
        w = (self.outputs, self.channels // self.groups, self.kernel, self.kernel)
        return x, w, output_shape("conv2d", x, w, **self.attrs)

    def flops(self, batch: int) -> int:
        _, w, y = self.shapes(batch)
        return 2 * int(np.prod(y)) * int(np.prod(w[1:]))


# Of ResNets and MobileNetV2, and below the line of ResNeXt, MobileNetV3, EfficientNet, U-Net and others.
LAYERS: Mapping[str, Layer] = {
    "7×7 stem": Layer(3, 64, 224, 7, stride=2),
    "3×3 64 56²": Layer(64, 64, 56, 3),
    "3×3 128 28²": Layer(128, 128, 28, 3),
    "3×3 256 14²": Layer(256, 256, 14, 3),
    "3×3 512 7²": Layer(512, 512, 7, 3),
    "3×3 stride 2": Layer(128, 256, 28, 3, stride=2),
    "1×1 64→256": Layer(64, 256, 56, 1),
    "1×1 1024→256": Layer(1024, 256, 14, 1),
    "depthwise 144 56²": Layer(144, 144, 56, 3, groups=144),
    "depthwise 384 14²": Layer(384, 384, 14, 3, groups=384),
}
MORE_LAYERS: Mapping[str, Layer] = {
    "3×3 of 32 groups 128 28²": Layer(128, 128, 28, 3, groups=32),
    "5×5 depthwise 120 28²": Layer(120, 120, 28, 5, groups=120),
    "depthwise stride 2 96 112²": Layer(96, 96, 112, 3, stride=2, groups=96),
    "5×5 depthwise stride 2 240 28²": Layer(240, 240, 28, 5, stride=2, groups=240),
    "1×1 24→144 56²": Layer(24, 144, 56, 1),
    "1×1 960→320 7²": Layer(960, 320, 7, 1),
    "3×3 16 112²": Layer(16, 16, 112, 3),
    "3×3 3→32 stride 2 224²": Layer(3, 32, 224, 3, stride=2),
    "3×3 1→64 128²": Layer(1, 64, 128, 3),
    "3×3 256→128 32²": Layer(256, 128, 32, 3),
    "5×5 48→64 28²": Layer(48, 64, 28, 5),
    "3×3 dilation 2 256 28²": Layer(256, 256, 28, 3, dilation=2),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of the benchmark."""
    parser.description = DESCRIPTION
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--layer", action="append", default=[], metavar="NAME", help="only this layer (repeatable)")
    parser.add_argument("--more", action="store_true", help="layers of more networks too")
    parser.add_argument("--direction", action="append", choices=DIRECTIONS, help="only this (repeatable)")
    parser.add_argument("--batch-size", type=int, default=8, help="images (8)")
    parser.add_argument("--peer", choices=("torch",), help="compare with PyTorch (extra `peers`)")
    parser.add_argument("--turns", type=int, default=7, help="turns of each contestant (7)")
    parser.add_argument("--turn-seconds", type=float, default=0.05, help="least duration of one turn (0.05)")
    parser.add_argument("--threads", type=int, default=1, help="threads of every contestant (1)")


def chosen_layers(names: list[str], more: bool) -> dict[str, Layer]:
    """Those of these names, or all of the table. Raises ValueError for a name that is in none."""
    known = {**LAYERS, **MORE_LAYERS}
    for name in names:
        if name not in known:
            raise ValueError(expected("--layer", "one of " + ", ".join(known), repr(name)))
    return {name: known[name] for name in names} if names else known if more else dict(LAYERS)


def check(args: argparse.Namespace) -> None:
    """Raise ValueError for a layer that is not known or counts below 1."""
    chosen_layers(args.layer, args.more)
    for flag in ("batch_size", "turns", "threads"):
        if getattr(args, flag) < 1:
            raise ValueError(expected(f"--{flag.replace('_', '-')}", "at least 1", str(getattr(args, flag))))


def run(args: argparse.Namespace) -> int:
    """Measure, print, write; the exit status."""
    fix_threads(args.threads)
    rows = []
    for name, layer in chosen_layers(args.layer, args.more).items():
        for direction in args.direction or DIRECTIONS:
            rows.append(measure(name, layer, direction, args))
            print(line(rows[-1]), flush=True)
    facts: dict[str, float] = {}
    if args.peer:
        facts, text = speeds_to_peer(rows)
        print(text)
    write(record("convolution", args, rows, **facts), args, label="label", figure="gigaflops")
    return 0


def measure(name: str, layer: Layer, direction: str, args: argparse.Namespace) -> dict[str, Any]:
    """One row: the kernel that is chosen, its rate, and where a peer is asked for its speed beside that."""
    rng = np.random.default_rng(0)
    x, w, y = (rng.standard_normal(shape, np.float32) for shape in layer.shapes(args.batch_size))
    inputs, like, more = {
        "conv2d": ((x, w), y, {}),
        "conv2d_backward_data": ((y, w), x, {"input_shape": x.shape}),
        "conv2d_backward_weights": ((y, x), w, {"weight_shape": w.shape}),
    }[direction]
    out = np.empty_like(like)
    types = [tensor_type(array.shape, float32) for array in (*inputs, out)]
    problem = Problem(direction, types[:2], types[2:], {**layer.attrs, **more})
    kernel = choose(problem)
    contestants: dict[str, Callable[[], Any]] = {"dtrain": bind_alone(kernel, problem, inputs, out)}
    if args.peer:
        contestants |= torch_contestants(layer, direction, (x, w, y), args.threads)
    turns = {contestant: repeated(call, least_seconds=args.turn_seconds) for contestant, call in contestants.items()}
    measured = take_turns(turns, args.turns)
    ours = measured.pop("dtrain")
    row = {
        "label": f"{name} {direction.removeprefix('conv2d_') if '_' in direction else 'forward'}",
        "kernel": kernel.name,
        "median_ms": ours.median * 1e3,
        "spread": ours.spread,
        "gigaflops": layer.flops(args.batch_size) / ours.median / 1e9,
    }
    return row | (beside_peer(ours, measured) if measured else {})


def torch_contestants(
    layer: Layer, direction: str, arrays: tuple[np.ndarray, np.ndarray, np.ndarray], threads: int
) -> dict[str, Callable[[], Any]]:
    """PyTorch's own function for this direction, on tensors in each of its memory orders."""
    torch = pytorch("bench convolution --peer", threads)
    pairs = [[value, value] for value in (layer.stride, layer.padding, layer.dilation)]

    def call_in(order: Any) -> Callable[[], Any]:
        x, w, y = (torch.from_numpy(array).to(memory_format=order) for array in arrays)
        if direction == "conv2d":
            return lambda: torch.conv2d(x, w, None, *pairs, layer.groups)
        wanted = [direction == "conv2d_backward_data", direction == "conv2d_backward_weights", False]
        backward = torch.ops.aten.convolution_backward
        return lambda: backward(y, x, w, None, *pairs, False, [0, 0], layer.groups, wanted)

    orders = {"PyTorch": torch.contiguous_format, "PyTorch channels-last": torch.channels_last}
    calls = {name: call_in(order) for name, order in orders.items()}

    def without_tape(call: Callable[[], Any]) -> Callable[[], Any]:
        def run() -> Any:
            with torch.inference_mode():
                return call()

        return run

    return {name: without_tape(call) for name, call in calls.items()}


def line(row: Mapping[str, Any]) -> str:
    """One row of the table."""
    text = f"{row['label']:<42} {row['median_ms']:8.2f} ms {row['gigaflops']:7.1f} GFLOP/s  {row['kernel']:<44}"
    if "peer" in row:
        text += f" {row['speed_to_peer']:5.2f}x [{row['ratio_min']:.2f}, {row['ratio_max']:.2f}] {row['peer']}"
    return text
