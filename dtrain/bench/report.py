"""What every benchmark leaves: one record, as JSON for programs and as a page for people who would rather look."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from dtrain.base.errors import expected
from dtrain.base.turns import Samples
from dtrain.events import BenchmarkResult, emit
from dtrain.kernels.measured import machine

Row = Mapping[str, Any]

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 70em; color: #222 }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .2em .8em; border-bottom: 1px solid #ddd; text-align: right }
td.text, th.text { text-align: left } .bar { fill: #4477aa } .whisker { stroke: #222 } pre { white-space: pre-wrap }
"""


def add_report_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of every benchmark for what it leaves behind."""
    parser.add_argument("-J", "--json", type=Path, metavar="FILE", help="write everything measured to FILE")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with tables and bars to FILE")


def check_report_files(args: argparse.Namespace) -> None:
    """Raises `ValueError` for a file that could not be written, before anything is measured for it."""
    for flag, path in (("--json", args.json), ("--html", args.html)):
        if path is not None and (fault := _fault(path)):
            raise ValueError(expected(flag, "a file that can be written", f"{str(path)!r}: {fault}", "name another"))


def _fault(path: Path) -> str:
    """Why it cannot be written. Its contents stay, and what was not there is gone again."""
    try:
        if not os.path.lexists(path):
            path.open("xb").close()
            path.unlink()
        elif path.is_file() or path.is_dir():  # no pipe, whose reader would take the end of this for the end of all
            path.open("ab").close()
    except (OSError, ValueError) as error:
        return (error.strerror if isinstance(error, OSError) else "") or str(error)
    return ""


def milliseconds(samples: Samples) -> Row:
    """The fields of a row that say how long a contestant took."""
    return {
        "median_ms": samples.median * 1e3,
        "min_ms": samples.least * 1e3,
        "max_ms": samples.greatest * 1e3,
    }


def record(benchmark: str, args: argparse.Namespace, rows: Sequence[Row], **facts: Any) -> dict[str, Any]:
    """What was measured: the machine, the settings, facts about the run as a whole, and a row for each figure.

    A row is flat; its keys are the same in all rows.
    """
    ours = {name: value for name, value in vars(args).items() if not callable(value) and name not in ("json", "html")}
    return {
        "benchmark": benchmark,
        "machine": host(),
        "settings": {name: value if isinstance(value, (int, float)) else str(value) for name, value in ours.items()},
        **facts,
        "rows": [dict(row) for row in rows],
    }


def host() -> dict[str, Any]:
    """What figures depend on: all that times of kernels do, and what more a run as a whole needs."""
    system = f"{platform.machine()} {platform.system()} {platform.release()}"
    return {**machine(), "cores": len(os.sched_getaffinity(0)), "system": system}


def write(found: Mapping[str, Any], args: argparse.Namespace, *, label: str, figure: str) -> None:
    """Write the files that were asked for, and emit an event a row.

    `label` and `figure` name the columns that bars are drawn of.
    """
    for row in found["rows"]:
        emit(BenchmarkResult(benchmark=found["benchmark"], values=row))
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n")
    if args.html is not None:
        args.html.write_text(page(found, label=label, figure=figure))


def page(found: Mapping[str, Any], *, label: str, figure: str) -> str:
    """One HTML page, with nothing to load from elsewhere: bars of one column, and the whole table."""
    title = f"dtrain bench {found['benchmark']}"
    facts = {name: value for name, value in found.items() if name not in ("rows", "benchmark")}
    return (
        f"<!doctype html>\n<html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>\n"
        f"<h1>{escape(title)}</h1>\n{_bars(found['rows'], label, figure)}\n{_table(found['rows'])}\n"
        f"<pre>{escape(json.dumps(facts, indent=1))}</pre>\n</html>\n"
    )


def _bars(rows: Sequence[Row], label: str, figure: str) -> str:
    shown = [row for row in rows if isinstance(row.get(figure), (int, float))]
    most = max((float(row[figure]) for row in shown), default=0.0)
    if most <= 0:
        return ""
    lines = []
    for number, row in enumerate(shown):
        y, width = 22 * number, 420 * max(0.0, float(row[figure])) / most
        lines.append(
            f'<text x="300" y="{y + 15}" text-anchor="end">{escape(str(row[label]))}</text>'
            f'<rect class="bar" x="310" y="{y + 3}" width="{width:.1f}" height="15"/>'
            f'<text x="{316 + width:.1f}" y="{y + 15}">{float(row[figure]):.4g}</text>'
        )
    return f'<h2>{escape(figure)}</h2><svg width="860" height="{22 * len(shown)}" font-size="13">{"".join(lines)}</svg>'


def _table(rows: Sequence[Row]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "\n".join("<tr>" + "".join(_cell(row.get(name)) for name in columns) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>\n{body}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"<td>{value:.5g}</td>"
    kind = "" if isinstance(value, int) else " class=text"
    return f"<td{kind}>{escape('' if value is None else str(value))}</td>"
