"""Import statements of PyTorch's modules work under our name, or say what to write."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest

import dtrain as dt
import dtrain.functional as F
from dtrain import collectives as dist
from dtrain import data, nn, optim
from dtrain.base import module_names, names


@pytest.mark.parametrize("path", module_names.MODULES)
def test_a_module_under_another_name_is_the_same_and_stays_what_it_is(path: str) -> None:
    found, ours = importlib.import_module(path), importlib.import_module(module_names.MODULES[path])
    assert found is ours and ours.__spec__ is not None and ours.__spec__.name == ours.__name__


@pytest.mark.parametrize(
    "text",
    [
        "import dtrain.nn.functional as F; assert F is functional",
        "import dtrain.distributed as dist; assert dist.all_reduce",
        "import dtrain.distributed.horovod as hvd; assert hvd.allreduce is ours.horovod.allreduce",
        "from dtrain.utils.data.loader import DataLoader; assert DataLoader is data.DataLoader",
        "from dtrain.nn.parallel import DistributedDataParallel as DDP; assert DDP is ours.DistributedDataParallel",
        "import dtrain as torch, dtrain.nn.parallel; assert torch.nn.parallel.DistributedDataParallel",
        "import dtrain as torch, dtrain.utils.data.distributed; assert torch.utils.data.distributed.DistributedSampler",
        "from dtrain.utils.data import DataLoader, TensorDataset; from dtrain.utils import data as d; assert d is data",
        "from dtrain.nn.utils import clip_grad_norm_; from dtrain.nn.utils.clip_grad import clip_grad_value_",
        "from dtrain.nn.utils.rnn import pad_sequence; assert pad_sequence is functional.pad_sequence",
        "from dtrain.autograd import Function; assert Function is torch.Function",
        "from dtrain.autograd.function import Function; assert Function is torch.Function",
        "from dtrain.distributed.nn.functional import all_gather; assert all_gather is ours.all_gather",
        "import dtrain.distributed.nn; assert torch.distributed.nn.all_reduce is ours.all_reduce",
        "from dtrain.cuda.amp import GradScaler, autocast; import dtrain.cuda.amp as amp",
        "from dtrain.optim.lr_scheduler import LambdaLR; import dtrain.optim.lr_scheduler as s; assert s.StepLR",
        "import dtrain.backends.cudnn as cudnn; cudnn.benchmark = True; assert torch.backends.cudnn.benchmark is True",
    ],
)
def test_import_statements(text: str) -> None:
    """An earlier import may have left its attribute behind; those that need none have an interpreter of their own."""
    head = "import dtrain as torch; from dtrain import collectives as ours, data, functional; "
    exec(head + text, {})


def test_attributes_need_no_import() -> None:
    text = (
        "import dtrain as torch; torch.utils.data.DataLoader; torch.nn.utils.rnn.pad_sequence; torch.cuda.amp.autocast;"
        "torch.nn.parallel.DistributedDataParallel; torch.autograd.Function; torch.backends.cudnn.benchmark = True; "
        "assert torch.backends.cudnn.benchmark; torch.backends.cuda.matmul.allow_tf32 = True; torch.amp.GradScaler"
    )
    subprocess.run([sys.executable, "-c", text], check=True)


@pytest.mark.parametrize(
    "path",
    [
        *("dtrain.jit", "dtrain.onnx", "dtrain.utils.tensorboard", "dtrain.cuda.Stream", "dtrain.sparse"),
        *("dtrain.distributed.optim", "dtrain.distributed.elastic.multiprocessing", "dtrain.distributed.rpc"),
    ],
)
def test_a_module_that_is_nowhere_says_what_to_write(path: str) -> None:
    place, _, word = path.removeprefix("dtrain.").removesuffix(".multiprocessing").rpartition(".")
    place = "dist" if place == "distributed" else place
    with pytest.raises(ModuleNotFoundError, match=re.escape(names.HINTS[place or "dt"][word])):
        importlib.import_module(path)


NOWHERE = [
    ("nn.utils.rnn", "pack_padded_sequence"),
    ("autograd", "Variable"),
    ("autograd.function", "once_differentiable"),
    ("collectives.nn.functional", "reduce_scatter"),
]


@pytest.mark.parametrize(("place", "word"), NOWHERE)
def test_a_name_that_is_nowhere_says_what_to_write(place: str, word: str) -> None:
    hints = names.HINTS[place.replace("collectives", "dist")]
    with pytest.raises(ImportError, match=re.escape(hints[word])):
        exec(f"from dtrain.{place} import {word}", {})


def test_installed_twice_is_installed_once() -> None:
    before = list(sys.meta_path)
    module_names.install()
    assert sys.meta_path == before


def test_modules_that_nobody_knows_are_not_found_as_ever() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'dtrain.nowhere'"):
        importlib.import_module("dtrain.nowhere")
    assert (F, dist, data, nn, optim) == tuple(
        importlib.import_module(f"dtrain.{name}") for name in ("functional", "collectives", "data", "nn", "optim")
    )


def test_mixed_precision_is_taken_where_it_is_off() -> None:
    weight = nn.Parameter(dt.tensor([1.0]))
    scaler = dt.cuda.amp.GradScaler(enabled=False)
    with dt.autocast(device_type="cpu", enabled=False), dt.cuda.amp.autocast(False):
        loss = (weight * 3).sum()
    scaler.scale(loss).backward()
    optimizer = optim.SGD([weight], 0.5)
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert weight.tolist() == [-0.5] and scaler.state_dict() == {}
    assert not scaler.is_enabled() and scaler.get_scale() == 1
    with pytest.raises(ValueError, match=re.escape(".to('bf16')")):
        dt.autocast("cpu", dtype=dt.bfloat16)


def test_mixed_precision_is_refused_where_it_would_have_an_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    with dt.autocast("cuda"):  # as PyTorch's without GPUs
        assert not dt.amp.GradScaler().is_enabled()
    monkeypatch.setattr("dtrain.amp.is_cuda_available", lambda: True)
    for made in (lambda: dt.autocast("cuda:0"), lambda: dt.autocast(True), dt.amp.GradScaler):
        with pytest.raises(ValueError, match="there is no mixed precision"):
            made()


def test_the_gpu_is_not_waited_for_where_there_is_none() -> None:
    dt.cuda.synchronize()
    dt.cuda.empty_cache()


def test_old_constructors() -> None:
    assert dt.LongTensor([1, 2]).dtype is dt.int64 and dt.FloatTensor([1, 2]).tolist() == [1.0, 2.0]
    assert dt.BoolTensor(2, 3).shape == (2, 3) and dt.HalfTensor().shape == (0,)
    for given in ([1, 2], dt.tensor([1, 2]), (1, 2)):
        assert dt.Tensor(given).dtype is dt.float32 and dt.Tensor(given).tolist() == [1.0, 2.0]
    with pytest.raises(TypeError, match=re.escape("write dt.zeros")):
        dt.Tensor(2, 3)


def test_threads() -> None:
    before = dt.get_num_threads()
    dt.set_num_threads(1)
    assert dt.get_num_threads() == 1
    dt.set_num_threads(before)
    with pytest.raises(ValueError, match="at least 1"):
        dt.set_num_threads(0)


def test_multiprocessing_is_that_of_python_without_spawn() -> None:
    import multiprocessing

    ours = importlib.import_module("dtrain.multiprocessing")
    assert ours.get_all_start_methods() == multiprocessing.get_all_start_methods()
    assert not hasattr(ours, "_supports_context")
    for word in ("spawn", "start_processes"):
        with pytest.raises(AttributeError, match="dtrain run -np N"):
            getattr(ours, word)
    with pytest.raises(ImportError, match="dtrain run -np N"):
        exec("from dtrain.multiprocessing import spawn", {})
