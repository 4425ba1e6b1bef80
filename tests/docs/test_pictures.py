"""Pictures: what is drawn is what was given, and the ones in the guide are whole."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parents[2] / "docs"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def pictures():
    spec = importlib.util.spec_from_file_location("docs_pictures", DOCS / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for the annotations of its named tuples
    spec.loader.exec_module(module)
    return module


def tips(svg: str) -> list[str]:
    return [
        title.text for box in ElementTree.fromstring(svg).iter(f"{SVG}rect") for title in box.findall(f"{SVG}title")
    ]


def widths(svg: str) -> list[float]:
    boxes = list(ElementTree.fromstring(svg).iter(f"{SVG}rect"))
    return [float(box.get("width")) for box in boxes if box.find(f"{SVG}title") is not None]


def test_buckets_are_as_wide_as_they_have_bytes(pictures):
    svg = pictures.bucket_picture({1: [(2, 2**20), (1, 3 * 2**20)], 25: [(3, 2**22)]}, "a < b")
    assert tips(svg) == [
        "bucket 0: 2 tensors, 1.00 MiB",
        "bucket 1: 1 tensors, 3.00 MiB",
        "bucket 0: 3 tensors, 4.00 MiB",
    ]
    first, second, whole = widths(svg)
    assert second == pytest.approx(3 * first) and first + second == pytest.approx(whole)


def test_a_timeline_has_a_row_for_each_rank(pictures):
    span = pictures.Span
    ranks = [[span("relu", False, 1.0, 1.5), span("all_reduce", True, 1.5, 2.0)], [span("relu", False, 1.0, 2.0)]]
    svg = pictures.timeline_picture(ranks, "steps")
    assert tips(svg) == ["relu: 500000 µs", "all_reduce: 500000 µs", "relu: 1000000 µs"]
    colors = [box.get("fill") for box in ElementTree.fromstring(svg).iter(f"{SVG}rect")][1:]
    assert colors == [pictures.BLUE, pictures.ORANGE, pictures.BLUE]


def test_bandwidth_rises_upwards(pictures):
    report = {"rows": [{"via": "x", "nbytes": 2**10, "busbw": 0.1}, {"via": "x", "nbytes": 2**20, "busbw": 10.0}]}
    svg = pictures.bandwidth_picture(pictures.curves_of(report), "bandwidth")
    curve = list(ElementTree.fromstring(svg).iter(f"{SVG}polyline"))[-1]
    (left, low), (right, high) = (map(float, point.split(",")) for point in curve.get("points").split())
    assert left < right and low > high and "1 KiB" in svg and "1 MiB" in svg


@pytest.mark.parametrize("name", ["buckets", "timeline", "bandwidth"])
def test_the_pictures_of_the_guide_are_there(name):
    svg = (DOCS / "pictures" / f"{name}.svg").read_text(encoding="utf-8")
    assert len(list(ElementTree.fromstring(svg).iter())) > 10
