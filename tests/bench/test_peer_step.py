"""The benchmark beside PyTorch: who takes part, what its figures mean, and what it refuses. PyTorch is not needed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dtrain.base.errors import LaunchError
from dtrain.base.turns import Samples
from dtrain.bench.benchmarks.peer_step import rows
from dtrain.bench.command import bench
from dtrain.bench.training.contestants import Setting, compiled, contestants
from dtrain.bench.training.peak_memory import PeakMemory, peak_memory
from dtrain.bench.training.workloads import WORKLOADS
from dtrain.launcher.plan.spec import UsageError

OURS = ("dtrain traced", "dtrain eager")


def test_images_are_also_laid_out_channels_last() -> None:
    assert contestants("mlp", is_compiled=False) == (*OURS, "PyTorch eager")
    assert contestants("small_transformer", is_compiled=True) == (*OURS, "PyTorch eager", "PyTorch compiled")
    assert contestants("resnet50", is_compiled=False) == (*OURS, "PyTorch eager", "PyTorch channels-last")


def test_speed_is_over_the_best_of_each_turn() -> None:
    measured = {
        "dtrain traced": Samples((1.0, 2.0, 4.0)),
        "PyTorch eager": Samples((2.0, 6.0, 8.0)),
        "PyTorch compiled": Samples((3.0, 3.0, 2.0)),
    }
    memory = {name: PeakMemory(mebibytes=position + 0.5, is_reset=True) for position, name in enumerate(measured)}
    ours, eager, compiled = rows(measured, memory)
    assert (ours["ratio_to_pytorch"], ours["ratio_min"], ours["ratio_max"]) == (0.5, 1 / 3, 0.5)
    assert [ours[f"speed_over_best{which}"] for which in ("", "_min", "_max")] == [1.5, 0.5, 2.0]
    assert [eager[f"speed_over_best{which}"] for which in ("", "_min", "_max")] == [0.5, 0.25, 1.0]
    assert (compiled["ratio_to_pytorch"], compiled["speed_over_best"]) == (0.5, 1.0)
    assert [row["peak_mib"] for row in (ours, eager, compiled)] == [0.5, 1.5, 2.5]
    assert all("peak_mib" not in row for row in rows(measured, {}))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--model digits_cnn", "invalid choice: 'digits_cnn'"),
        ("--length 32", "mlp: expected --image-size for the size of its samples, got --length 32"),
        ("--model small_transformer --image-size 32", "expected --length for .*, got --image-size 32"),
        ("--model small_transformer --length 300", "--length: expected at most 256 for small_transformer, got 300"),
        ("--image-size 0", "--image-size: expected at least 1, got 0"),
        ("--batch-size 0", "--batch-size: expected at least 1, got 0"),
        ("--turns 0", "--turns: expected at least 1, got 0"),
        ("--memory --device cuda", "--memory: expected --device cpu, whose memory it counts, got cuda"),
    ],
)
def test_what_cannot_be_measured(flags: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        bench(["peer_step", *flags.split()])


@pytest.mark.parametrize("benchmark", ["step", "threads"])
def test_others_refuse_the_size_of_another_kind_too(benchmark: str) -> None:
    with pytest.raises(UsageError, match="resnet18: expected --image-size for the size of its samples, got --length 8"):
        bench([benchmark, "--length", "8"])


def test_tokens_are_in_the_vocabulary() -> None:
    tokens, labels = WORKLOADS["small_transformer"].batch(16, 64, seed=0)
    assert tokens.shape == (16, 64) and tokens.dtype.kind == "signed" and labels.shape == (16,)
    assert 0 <= np.min(tokens.numpy()) < 50 and 950 < np.max(tokens.numpy()) < 1000


def test_memory_is_that_of_weights_gradients_and_momentum_at_least() -> None:
    setting = Setting(model="resnet18", batch_size=2, size=32, device="cpu", threads=1)
    weights = sum(parameter.size for parameter in WORKLOADS["resnet18"].build().parameters()) * 4 / 2**20
    assert 3 * weights - 1 < peak_memory("dtrain traced", setting).mebibytes < 6 * weights


def test_a_process_that_fails_is_told_with_its_last_words() -> None:
    setting = Setting(model="mlp", batch_size=1, size=9, device="cpu", threads=1)
    with pytest.raises(LaunchError, match=r"expected dtrain eager to train in a process of its own, got .*ShapeError"):
        peak_memory("dtrain eager", setting)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("InvalidCxxCompiler: No working …", r"expected a C\+\+ compiler for torch.compile, got none; install g\+\+"),
        (
            "CppCompileError\nfatal error: Python.h: No such file",
            "expected Python's headers for torch.compile, got none",
        ),
        ("Something else\nand more", "expected torch.compile to work, got Something else$"),
    ],
)
def test_what_is_compiled_is_named(text: str, words: str) -> None:
    def fail(model: Any) -> Any:
        raise RuntimeError(text)

    with pytest.raises(LaunchError, match=words):
        compiled(SimpleNamespace(compile=fail), None, None, None)
