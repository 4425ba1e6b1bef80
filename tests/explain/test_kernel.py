"""`dtrain explain kernel`: problems as text, what is printed, and what a wrong line is told."""

from __future__ import annotations

import json

import pytest

from dtrain.base.dtype import float32
from dtrain.base.errors import DtrainError, DtypeError, GraphError, LayoutError, ShapeError
from dtrain.base.tensor_type import tensor_type
from dtrain.cli import main
from dtrain.explain.problem_text import parse_problem
from dtrain.graph.calls import calls_of, problem_of
from dtrain.graph.op import all_ops
from dtrain.kernels.problem import Problem

CONV = "conv2d f32[8,6,9,9] f32[4,6,3,3] stride=1,1 padding=1,1 dilation=1,1 groups=1"


def test_a_problem_is_read_from_text_and_back() -> None:
    problem = parse_problem(CONV)
    x, w, y = (tensor_type(shape, float32) for shape in ((8, 6, 9, 9), (4, 6, 3, 3), (8, 4, 9, 9)))
    attrs = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    assert problem == Problem("conv2d", [x, w], [y], attrs)
    assert parse_problem(str(problem)) == problem


def problems_of_all_ops() -> list[Problem]:
    found = []
    for op in all_ops():
        for call in calls_of(op) if op.view is None else ():
            if all(isinstance(given, tuple) for given in call.inputs):
                found.append(problem_of(call, op.dtypes[-1]))
    return found


def test_types_are_those_that_graphs_print() -> None:
    (x,) = parse_problem("exp f32[1,13,2,2]{NCHW16c}").inputs
    assert str(x) == "f32[1,13,2,2]{NCHW16c}@cpu"
    problem = parse_problem("relayout qs8<0.05:3>[1,13,2,2] source=NCHW layout=NHWC")
    assert str(problem.outputs[0]) == "qs8<0.05:3>[1,13,2,2]{NHWC}@cpu"
    with pytest.raises(LayoutError, match="it has no rule for NHWC"):
        parse_problem("sum f32[1,2,3,4]{NHWC} axis=1 keepdims=True")


def test_what_is_printed_parses_back() -> None:
    problems = problems_of_all_ops()
    assert len(problems) > 100
    for problem in problems:
        assert parse_problem(str(problem)) == problem, problem


@pytest.mark.parametrize(
    ("text", "error", "match"),
    [
        ("", GraphError, "expected the name of an op first, got ''"),
        ("relo f32[4]", GraphError, "got 'relo'; names like it: relu"),
        ("relu f32[4", GraphError, "expected text such as"),
        ("relu f33[4]", DtypeError, "got 'f33'"),
        ("relu f32[4] f32[4]", GraphError, "relu: expected the inputs of the op"),
        ("conv2d f32[8,6,9,9] f32[4,6,3,3] stride=1,1", GraphError, 'groups, got stride; for example "conv2d f32'),
        ("softmax f32[4] axis=0 slope=1", GraphError, "softmax: expected the attributes axis, got axis, slope"),
        (CONV.replace("f32[4,6", "f32[4,5"), ShapeError, "weight"),
        (CONV.replace("f32[4,6", "f64[4,6"), DtypeError, "conv2d: expected inputs of one dtype"),
        ("reshape f32[4] shape=2,2", GraphError, "an op that a kernel computes, got reshape, which shows memory"),
        ("constant", GraphError, "an op that a kernel computes, got constant"),
        ("softmax f32[3] axis=9", ShapeError, r"softmax: expected an axis in \[-1, 1\), got 9"),
        ("softmax f32[3] axis=x", GraphError, "softmax: expected a number for axis, got x; for example"),
        ("softmax f32[3] axis=0,1", GraphError, "softmax: expected a number for axis, got 0,1"),
        ("softmax f32[3] axis=0.5", GraphError, "softmax: expected an axis as an int, got 0.5"),
        ("softmax f32[3] axis=1 axis=0", GraphError, "softmax: expected each attribute once, got axis=1 axis=0"),
        ("eye n=-3 m=2 dtype=f32 device=cpu", ShapeError, "eye: expected attributes that give sizes of at least 0"),
        ("sum f32[3,4] axis=0, keepdims=7", GraphError, "sum: expected True or False for keepdims, got 7"),
        (
            CONV.replace("stride=1,1", "stride=1"),
            GraphError,
            "conv2d: expected a tuple for stride, got 1",
        ),
    ],
)
def test_a_wrong_problem_is_told_what_is_wrong(text: str, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        parse_problem(text)


def test_no_op_takes_an_axis_that_its_input_does_not_have() -> None:
    count = 0
    for problem in problems_of_all_ops():
        for name, value in problem.attrs.items():
            if "axis" in name and isinstance(value, int) and not isinstance(value, bool):
                for wrong in (99, -99, "x", 0.5):
                    changed = Problem(problem.op, problem.inputs, [], {**problem.attrs, name: wrong})
                    with pytest.raises(DtrainError):
                        parse_problem(str(changed))
                    count += 1
    assert count > 100


def test_the_command_prints_every_candidate(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "kernel", *CONV.split()]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(CONV.split(" stride")[0].replace("]", "]@cpu"))
    assert "is taken: " in printed and "conv2d_reference" in printed


def test_the_command_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "kernel", CONV, "--json", "--isa", "reference"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["taken"] == "conv2d_reference" and found["policy"]["isa"] == "reference"


def test_the_command_measures(capsys: pytest.CaptureFixture[str], monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert main(["explain", "kernel", "relu f32[64]", "--measure"]) == 0
    assert "µs" in capsys.readouterr().out
    assert list(tmp_path.glob("dtrain/kernels-*.json"))


def test_what_one_kernel_computes_is_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "kernel", "nonzero f32[4]", "--measure"]) == 0
    assert "nonzero_reference is taken: nothing else is usable" in capsys.readouterr().out


def test_a_problem_on_a_gpu_needs_none(capsys: pytest.CaptureFixture[str]) -> None:
    problem = "softmax_cross_entropy f32[4,10]@cuda:0 s64[4]@cuda:0 label_smoothing=0.0"
    assert main(["explain", "kernel", problem]) == 0
    assert "softmax_cross_entropy_f32_cuda is taken" in capsys.readouterr().out
    assert main(["explain", "kernel", problem, "--measure"]) == 2
    assert "expected a problem on the CPU" in capsys.readouterr().err


def test_help_and_errors_teach(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "kernel", "--help"]) == 0
    assert 'dtrain explain kernel "conv2d f32[8,64,56,56]' in capsys.readouterr().out
    assert main(["explain", "--help"]) == 0
    assert "dtrain explain kernel" in capsys.readouterr().out
    assert main(["explain", "kernels"]) == 2
    assert "dtrain explain: expected one of graph, kernel, memory, got 'kernels'" in capsys.readouterr().err
    assert main(["explain", "kernel", "relu f32[4]", "--isa", "avx9"]) == 2
    assert "got 'avx9'; see dtrain explain kernel --help" in capsys.readouterr().err
