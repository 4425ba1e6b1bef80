"""Scripts that ask what there is get an answer, and go on with it."""

from __future__ import annotations

import importlib.util

import pytest

import dtrain as dt
from dtrain import collectives as dist
from dtrain.collectives import horovod as hvd
from dtrain.collectives.world import availability


def test_what_scripts_ask_before_they_start():
    assert dist.is_available() and dist.is_mpi_available() and not dist.is_gloo_available()
    assert hvd.mpi_built() and hvd.mpi_enabled() and hvd.mpi_threads_supported()
    assert not any(ask() for ask in (hvd.gloo_built, hvd.gloo_enabled, hvd.ccl_built, hvd.ddl_built, hvd.rocm_built))
    assert hvd.cuda_built() == dt.cuda.is_available()


@pytest.mark.parametrize(("gpu", "cupy", "answer"), [(True, True, True), (True, False, False), (False, True, False)])
def test_nccl_needs_a_gpu_and_cupy(monkeypatch, gpu, cupy, answer):
    monkeypatch.setattr(availability, "is_cuda_available", lambda: gpu)
    there = importlib.util.find_spec("json")
    monkeypatch.setattr(availability, "find_spec", lambda name: there if cupy and name == "cupy" else None)
    assert dist.is_nccl_available() is hvd.nccl_built() is answer
    assert not dist.is_mpi_available()


def test_a_missing_library_is_said_by_the_answer(monkeypatch):
    monkeypatch.setattr(availability, "find_spec", lambda name: None)
    assert dist.is_mpi_available() is hvd.mpi_enabled() is False
