"""Measured times: kept in a file, read by the next process, and the choice follows them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.kernel_cases import OPS, all_calls

from dtrain.base.device import as_device
from dtrain.base.dtype import float32
from dtrain.base.errors import DeviceError
from dtrain.base.tensor_type import tensor_type
from dtrain.graph.calls import problem_of
from dtrain.kernels import Policy, Problem, candidates, choose, measured
from dtrain.kernels.explanation import explain
from dtrain.kernels.measured import measure, times_file, times_of

X = tensor_type((64, 16), float32)
PROBLEM = Problem("softmax", [X], [X], {"axis": 1})


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def write_times(times: dict[str, float]) -> None:
    times_file().parent.mkdir(parents=True, exist_ok=True)
    times_file().write_text(json.dumps({"problems": {str(PROBLEM): times}}))
    measured._kept = None


def test_all_usable_kernels_are_timed_and_kept() -> None:
    assert times_of(PROBLEM) == {}
    found = measure(PROBLEM, candidates(PROBLEM), repeats=2)
    assert set(found) == {candidate.name for candidate in candidates(PROBLEM)}
    assert all(time > 0 for time in found.values())
    measured._kept = None
    assert times_of(PROBLEM) == found
    kept = json.loads(times_file().read_text())
    assert kept["machine"] == measured.machine()
    assert choose(PROBLEM, Policy(order="measured")).name == min(found, key=found.get)


def test_the_choice_follows_the_file() -> None:
    slowest = candidates(PROBLEM)[-1].name
    write_times({candidate.name: 5.0 for candidate in candidates(PROBLEM)} | {slowest: 1.0})
    assert choose(PROBLEM, Policy(order="measured")).name == slowest
    assert choose(PROBLEM).name == candidates(PROBLEM)[0].name
    found = explain(PROBLEM, Policy(order="measured"))
    assert found.reason == "it was measured the fastest" and "measured 1.0 µs" in str(found)


def test_without_times_the_estimate_decides_and_nothing_is_written() -> None:
    assert choose(PROBLEM, Policy(order="measured")) is choose(PROBLEM)
    if len(candidates(PROBLEM)) > 1:
        assert explain(PROBLEM, Policy(order="measured")).reason.startswith("it costs least, as nothing was measured")
    assert not times_file().exists()


def test_a_process_measures_what_is_missing_and_the_next_one_reads_it(tmp_path: Path) -> None:
    script = (
        "from dtrain.base.dtype import float32\nfrom dtrain.base.tensor_type import tensor_type\n"
        "from dtrain.kernels import Problem, choose\nx = tensor_type((64, 16), float32)\n"
        "print(choose(Problem('softmax', [x], [x], {'axis': 1})).name)"
    )
    env = {**os.environ, "DTRAIN_KERNELS": "measure"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
    if len(candidates(PROBLEM)) > 1:
        times = times_of(PROBLEM)
        assert done.stdout.strip() == min(times, key=times.get), done.stderr
    assert choose(PROBLEM, Policy(order="measured")).name == done.stdout.strip()


def test_ranks_of_a_job_do_not_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTRAIN_RANK", "0")
    monkeypatch.setenv("DTRAIN_WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="measure: expected one process, got 2 ranks"):
        measure(PROBLEM, candidates(PROBLEM))


def test_a_file_that_is_none_is_named() -> None:
    times_file().parent.mkdir(parents=True)
    times_file().write_text("{")
    measured._kept = None
    with pytest.raises(ValueError, match=r"measured kernels: expected times in .*delete the file"):
        times_of(PROBLEM)


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"problems": []}', '{"problems": 1}', '{"problems": {"a": 3}}', '{"problems": {"a": {"b": "1"}}}',
     '{"problems": {"a": {"b": null}}}', '{"problems": {"a": {"b": NaN}}}', '{"problems": {"a": [1]}}', "3", "null"],
)  # fmt: skip
def test_a_file_of_another_form_is_named(text: str) -> None:
    times_file().parent.mkdir(parents=True)
    times_file().write_text(text)
    for order in ("measured", "measure"):
        measured._kept = None
        with pytest.raises(ValueError, match=r"measured kernels: expected times in .*kernels-.*json.*delete the file"):
            choose(PROBLEM, Policy(order=order))


def test_a_folder_in_the_place_of_the_file_is_named() -> None:
    times_file().mkdir(parents=True)
    measured._kept = None
    with pytest.raises(ValueError, match=r"measured kernels: expected times in .*make it readable, or leave out"):
        choose(PROBLEM, Policy(order="measured"))


def test_times_that_cannot_be_kept_hold_for_this_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("dtrain.kernels.measured.SAMPLE_SECONDS", 0.0)
    measured._kept = None
    other = Problem("relu", [X], [X])
    for problem in (PROBLEM, other):
        with pytest.warns(UserWarning, match=r"measured kernels: expected to keep times in .*set XDG_CACHE_HOME to"):
            measure(problem, candidates(problem), repeats=1)
    assert times_of(PROBLEM).keys() == {candidate.name for candidate in candidates(PROBLEM)}
    assert times_of(other).keys() == {candidate.name for candidate in candidates(other)}


def test_a_problem_that_memory_does_not_hold_is_not_measured() -> None:
    x = tensor_type((2**40, 2**20), float32)
    with pytest.raises(ValueError, match=r"measure: expected a problem within the .* GiB of this machine, got relu"):
        measure(Problem("relu", [x], [x]), [])


@pytest.mark.parametrize("op", OPS)
def test_every_op_can_be_measured(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Integers among the made-up inputs are places that exist, scalars are arrays."""
    monkeypatch.setattr("dtrain.kernels.measured.SAMPLE_SECONDS", 0.0)
    for case in list(all_calls(op))[-3:]:
        problem = problem_of(case, float32)
        usable = candidates(problem)
        assert len(measure(problem, usable, repeats=1)) == len(usable)


def test_a_gpu_is_measured_elsewhere() -> None:
    x = tensor_type((4,), float32, device=as_device("cuda:0"))
    with pytest.raises(DeviceError, match="measure: expected a problem on the CPU"):
        measure(Problem("relu", [x], [x]), [])
