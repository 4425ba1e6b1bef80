"""Joining the world for training: the communicator, and everything that training on several ranks brings along.

Importing this module lets every compiled graph be compared between ranks before its first run. What a traced function
asks about the world is guarded.
"""

from __future__ import annotations

from dtrain.capture.trace import add_first_run_listener
from dtrain.collectives.communicator.contract import Communicator
from dtrain.collectives.passes.agreement import send_schedules
from dtrain.collectives.training.epoch_agreement import send_epoch
from dtrain.collectives.training.sync_batch_norm import convert_sync_batch_norm, exchange_through_world
from dtrain.collectives.world import context
from dtrain.core.context import context as tracing
from dtrain.data.epoch_start import add_epoch_listener
from dtrain.nn.batch_norm import SyncBatchNorm


def guard_world(present: context.Present, world: Communicator | None) -> None:
    """A traced function that asks about the world is captured again where it is called in another one."""
    if tracing.tracer is not None:
        tracing.tracer.guard(present, "world", world)


add_first_run_listener(send_schedules)
add_epoch_listener(send_epoch)
context.add_question_listener(guard_world)
SyncBatchNorm.exchange = exchange_through_world
SyncBatchNorm.convert_sync_batchnorm = staticmethod(convert_sync_batch_norm)


def init(communicator: Communicator | None = None, *, timeout: float | None = None) -> Communicator:
    """Join the world and return its communicator; a second call returns the same one.

    Without a launcher the world is this process alone, so scripts need no other code path. Under `dtrain run`,
    `mpirun` or `srun` it is every rank. Under the last two it divides the cores of each host among its ranks, unless
    OMP_NUM_THREADS is set; a library whose own variable is (OPENBLAS_NUM_THREADS, MKL_NUM_THREADS) keeps that.

    Args:
        communicator: use this one as the world instead of looking at the environment.
        timeout: seconds that a collective waits for its peers; default DTRAIN_COLLECTIVE_TIMEOUT or 1800.

    Raises:
        LaunchError: the environment names several ranks, and MPI is missing, cannot start or disagrees.
        CollectiveError: there is another world already.
    """
    return context.init(communicator, timeout=timeout)
