"""What this installation can talk through, asked in the words of PyTorch and Horovod. Nothing is started for it."""

from __future__ import annotations

from importlib.util import find_spec

from dtrain.base.cuda import is_cuda_available


def is_available() -> bool:
    """Whether there are collectives: always."""
    return True


def is_nccl_available() -> bool:
    """Whether ranks can talk through NCCL: there is a GPU, and CuPy, which brings NCCL."""
    return is_cuda_available() and find_spec("cupy") is not None


def is_mpi_available() -> bool:
    """Whether ranks can talk through MPI: mpi4py is installed. `dtrain doctor` tries it."""
    return find_spec("mpi4py") is not None


def is_gloo_available() -> bool:
    """Whether ranks can talk through Gloo: never; on the CPU they talk through shared memory and MPI."""
    return False
