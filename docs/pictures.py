"""Draws the pictures of the guide from what dtrain itself says: `make pictures`.

    dtrain bench all_reduce -np 2 -b 1K -e 16M -f 4 -J build/all_reduce.json
    dtrain run -np 2 docs/pictures.py build/all_reduce.json

Bucket plan and timeline are read from compiled graphs and their runs on the ranks of this job, bandwidth from the
report of the benchmark. Each picture names what it was measured with.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

FOLDER = Path(__file__).with_name("pictures")
WIDTH, LEFT, RIGHT = 860, 96, 20
INK, FAINT, BLUE, ORANGE, GREEN = "#333333", "#dddddd", "#3b6fb6", "#e08214", "#4d9221"
MIB = 2**20


class Span(NamedTuple):
    """One step of a compiled graph in one run: seconds on the host's clock."""

    op: str
    is_collective: bool
    begin: float
    end: float


class Point(NamedTuple):
    """One message size of a benchmark: bytes, GB/s."""

    nbytes: float
    bandwidth: float


# Drawing --------------------------------------------------------------------------------------------------------------


def picture(title: str, height: int, *parts: str) -> str:
    """An SVG on white with a title that screen readers say."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="sans-serif" font-size="12" fill="{INK}">\n<title>{escape(title)}</title>\n'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n' + text(8, 18, title) + "".join(parts) + "</svg>\n"
    )


def text(x: float, y: float, content: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(content)}</text>\n'


def bar(x: float, y: float, width: float, height: float, fill: str, tip: str) -> str:
    """A box that shows `tip` under the mouse."""
    return (
        f'<rect x="{x:.2f}" y="{y:.1f}" width="{max(width, 0.3):.2f}" height="{height}" fill="{fill}" '
        f'stroke="white" stroke-width="0.4"><title>{escape(tip)}</title></rect>\n'
    )


def line(points: Sequence[tuple[float, float]], color: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>\n'


def bucket_picture(plans: dict[float, list[tuple[int, int]]], caption: str) -> str:
    """For each size in MiB a row of buckets, each (tensors, bytes), as wide as it has bytes."""
    total = max(sum(nbytes for _, nbytes in plan) for plan in plans.values())
    scale, parts = (WIDTH - LEFT - RIGHT) / total, []
    for row, (size, plan) in enumerate(plans.items()):
        x, y = float(LEFT), 34 + 40 * row
        parts.append(text(8, y + 19, f"{size:g} MiB"))
        for number, (num_tensors, nbytes) in enumerate(plan):
            tip = f"bucket {number}: {num_tensors} tensors, {nbytes / MIB:.2f} MiB"
            parts.append(bar(x, y, nbytes * scale, 28, (BLUE, GREEN)[number % 2], tip))
            x += nbytes * scale
        parts.append(text(WIDTH - RIGHT - 4, y + 19, f"{len(plan)} messages", "end").replace(">", ' fill="white">', 1))
    return picture(caption, 44 + 40 * len(plans), *parts)


def timeline_picture(ranks: Sequence[Sequence[Span]], caption: str) -> str:
    """A row for each rank: computation blue, collectives orange, over milliseconds."""
    begin, end = min(spans[0].begin for spans in ranks), max(spans[-1].end for spans in ranks)
    scale, parts = (WIDTH - LEFT - RIGHT) / (end - begin), []
    for rank, spans in enumerate(ranks):
        y = 34 + 44 * rank
        parts.append(text(8, y + 20, f"rank {rank}"))
        for span in spans:
            tip = f"{span.op}: {(span.end - span.begin) * 1e6:.0f} µs"
            color = ORANGE if span.is_collective else BLUE
            parts.append(bar(LEFT + (span.begin - begin) * scale, y, (span.end - span.begin) * scale, 32, color, tip))
    bottom = 34 + 44 * len(ranks)
    ticks = [text(LEFT + (WIDTH - LEFT - RIGHT) * i / 4, bottom + 14, f"{(end - begin) * 250 * i:.2f} ms", "middle")
             for i in range(4)]  # fmt: skip
    return picture(caption, bottom + 24, *parts, *ticks)


def bandwidth_picture(curves: dict[str, list[Point]], caption: str) -> str:
    """Bus bandwidth over message size, both on logarithmic axes."""
    points = [point for curve in curves.values() for point in curve]
    low_x, high_x = (math.log2(edge(point.nbytes for point in points)) for edge in (min, max))
    low_y = math.floor(math.log10(min(point.bandwidth for point in points)))
    high_y = math.ceil(math.log10(max(point.bandwidth for point in points)))
    top, bottom = 40, 300

    def place(point: Point) -> tuple[float, float]:
        x = LEFT + (math.log2(point.nbytes) - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT)
        return x, bottom - (math.log10(point.bandwidth) - low_y) / (high_y - low_y) * (bottom - top)

    parts = []
    for power in range(low_y, high_y + 1):
        y = place(Point(2**low_x, 10.0**power))[1]
        parts += [line([(LEFT, y), (WIDTH - RIGHT, y)], FAINT), text(LEFT - 8, y + 4, f"{10.0**power:g} GB/s", "end")]
    for nbytes in sorted({point.nbytes for point in points}):
        size = f"{nbytes / MIB:g} MiB" if nbytes >= MIB else f"{nbytes / 1024:g} KiB"
        parts.append(text(place(Point(nbytes, 10.0**low_y))[0], bottom + 18, size, "middle"))
    for number, (name, curve) in enumerate(curves.items()):
        color = (BLUE, ORANGE, GREEN)[number % 3]
        parts += [line([place(point) for point in curve], color)]
        parts.append(text(LEFT + 12, top + 14 + 16 * number, f"— {name}").replace(">", f' fill="{color}">', 1))
    return picture(caption, bottom + 30, *parts)


# Measuring ------------------------------------------------------------------------------------------------------------


def bucket_plans(sizes: Sequence[float]) -> dict[float, list[tuple[int, int]]]:
    """Of a ResNet-18 step: (tensors, bytes) of each bucket, as the compiled graph has them."""
    from dtrain import collectives as dist

    plans = {}
    for size in sizes:
        step, arguments = training_step("resnet18", bucket_mb=size)
        step(*arguments)
        plans[size] = [(len(bucket.labels), bucket.nbytes) for bucket in dist.bucket_plan(step.graphs[0])]
    return plans


def timeline(num_warmups: int = 5) -> list[Span]:
    """One run of a digits step with sync-BN on this rank, each bound kernel call timed."""
    from dtrain import collectives as dist

    step, arguments = training_step("digits_cnn", bucket_mb=None)
    for _ in range(num_warmups):
        step(*arguments)
    executor, spans = step.compiled[0].executor, []

    def timed(call: Callable[[], Any], op: str, is_collective: bool) -> None:
        begin = time.perf_counter()
        call()
        spans.append(Span(op, is_collective, begin, time.perf_counter()))

    executor._steps = [
        partial(timed, call, node.op.name if node else "copy", bool(node and node.op.is_collective))
        for call, node in zip(executor._steps, executor._sources)
    ]
    dist.barrier()
    step(*arguments)
    return spans


def training_step(model_name: str, *, bucket_mb: float | None) -> tuple[Any, tuple[Any, Any]]:
    """A traced data-parallel step of a model with sync-BN, and a small batch for it."""
    import numpy as np

    import dtrain as dt
    import dtrain.functional as F
    from dtrain import collectives as dist
    from dtrain import models, optim

    shape = (32, 1, 8, 8) if model_name == "digits_cnn" else (2, 3, 32, 32)
    model = dist.data_parallel(dist.convert_sync_batch_norm(getattr(models, model_name)()), bucket_mb=bucket_mb)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    @dt.trace
    def step(images: dt.Tensor, labels: dt.Tensor) -> dt.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss

    return step, (dt.tensor(np.ones(shape, np.float32)), dt.tensor(np.zeros(shape[0], np.int64)))


def curves_of(report: dict[str, Any]) -> dict[str, list[Point]]:
    """The bus bandwidth of each contestant of `dtrain bench all_reduce -J`."""
    curves: dict[str, list[Point]] = {}
    for row in report["rows"]:
        curves.setdefault(row["via"], []).append(Point(row["nbytes"], row["busbw"]))
    return curves


def main() -> None:
    from dtrain import collectives as dist

    world = dist.init()
    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    plans = bucket_plans([0.5, 2, 8, 25])
    ranks = world.all_gather_object(timeline())
    if world.rank == 0:
        FOLDER.mkdir(exist_ok=True)
        where = f"{world.size} ranks on one host"
        for name, drawn in {
            "buckets": bucket_picture(plans, "Gradient buckets of ResNet-18 of four sizes, in the order of sending"),
            "timeline": timeline_picture(ranks, f"One step of the digits CNN, {where}; orange: collectives"),
            "bandwidth": bandwidth_picture(curves_of(report), f"All-reduce bus bandwidth, {where}"),
        }.items():
            (FOLDER / f"{name}.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
