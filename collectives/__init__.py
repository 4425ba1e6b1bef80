"""How ranks talk.

The lower storey exchanges arrays: `communicator` is the contract, `self`, `thread`, `mpi` and `nccl` carry it out,
`context` finds the one to use. The upper storey trains with it. Names are imported on first use, so that importing
this package starts no MPI and loads nothing of the framework.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dtrain.collectives.availability import is_available as is_available
    from dtrain.collectives.availability import is_gloo_available as is_gloo_available
    from dtrain.collectives.availability import is_mpi_available as is_mpi_available
    from dtrain.collectives.availability import is_nccl_available as is_nccl_available
    from dtrain.collectives.bucket import Bucket as Bucket
    from dtrain.collectives.calls import ReduceOp as ReduceOp
    from dtrain.collectives.calls import all_gather as all_gather
    from dtrain.collectives.calls import all_gather_into as all_gather_into
    from dtrain.collectives.calls import all_reduce as all_reduce
    from dtrain.collectives.calls import all_to_all as all_to_all
    from dtrain.collectives.calls import all_to_all_into as all_to_all_into
    from dtrain.collectives.calls import broadcast as broadcast
    from dtrain.collectives.calls import gather as gather
    from dtrain.collectives.calls import group as group
    from dtrain.collectives.calls import irecv as irecv
    from dtrain.collectives.calls import isend as isend
    from dtrain.collectives.calls import recv as recv
    from dtrain.collectives.calls import reduce as reduce
    from dtrain.collectives.calls import reduce_scatter as reduce_scatter
    from dtrain.collectives.calls import reduce_scatter_into as reduce_scatter_into
    from dtrain.collectives.calls import scatter as scatter
    from dtrain.collectives.calls import send as send
    from dtrain.collectives.communicator import Communicator as Communicator
    from dtrain.collectives.context import finalize as finalize
    from dtrain.collectives.context import get_communicator as get_communicator
    from dtrain.collectives.context import is_initialized as is_initialized
    from dtrain.collectives.context import rank as rank
    from dtrain.collectives.context import using as using
    from dtrain.collectives.context import world_size as world_size
    from dtrain.collectives.data_parallel_model import DataParallel as DataParallel
    from dtrain.collectives.data_parallel_model import data_parallel as data_parallel
    from dtrain.collectives.data_parallel_model import no_sync as no_sync
    from dtrain.collectives.distributed_data_parallel import DistributedDataParallel as DistributedDataParallel
    from dtrain.collectives.given_weight import batch_weight as batch_weight
    from dtrain.collectives.ops import weighted_mean as weighted_mean
    from dtrain.collectives.pack_all_reduce import bucket_plan as bucket_plan
    from dtrain.collectives.peer_words import P2POp as P2POp
    from dtrain.collectives.peer_words import batch_isend_irecv as batch_isend_irecv
    from dtrain.collectives.peer_words import get_backend as get_backend
    from dtrain.collectives.peer_words import monitored_barrier as monitored_barrier
    from dtrain.collectives.self_communicator import SelfCommunicator as SelfCommunicator
    from dtrain.collectives.session import init as init
    from dtrain.collectives.sync_batch_norm import convert_sync_batch_norm as convert_sync_batch_norm
    from dtrain.collectives.thread_communicator import ThreadCommunicator as ThreadCommunicator
    from dtrain.collectives.thread_communicator import run_threads as run_threads
    from dtrain.collectives.work import Work as Work
    from dtrain.collectives.world import all_gather_object as all_gather_object
    from dtrain.collectives.world import barrier as barrier
    from dtrain.collectives.world import broadcast_object as broadcast_object
    from dtrain.collectives.world import broadcast_object_list as broadcast_object_list
    from dtrain.collectives.world import gather_object as gather_object
    from dtrain.collectives.world import get_rank as get_rank
    from dtrain.collectives.world import get_world_size as get_world_size
    from dtrain.collectives.world import init_process_group as init_process_group
    from dtrain.collectives.world import local_rank as local_rank
    from dtrain.collectives.world import local_world_size as local_world_size
    from dtrain.collectives.world import new_group as new_group
    from dtrain.collectives.world import scatter_object_list as scatter_object_list

assert __name__ == "dtrain.collectives", "import dtrain.collectives, never the bare name `collectives`"

# Public name -> module of this package that defines it.
_PUBLIC = {
    "Communicator": "communicator",
    "SelfCommunicator": "self_communicator",
    "ThreadCommunicator": "thread_communicator",
    "run_threads": "thread_communicator",
    "Work": "work",
    "is_available": "availability",
    "is_gloo_available": "availability",
    "is_mpi_available": "availability",
    "is_nccl_available": "availability",
    "init": "session",
    "is_initialized": "context",
    "get_communicator": "context",
    "rank": "context",
    "world_size": "context",
    "finalize": "context",
    "using": "context",
    "batch_weight": "given_weight",
    "data_parallel": "data_parallel_model",
    "no_sync": "data_parallel_model",
    "DataParallel": "data_parallel_model",
    "DistributedDataParallel": "distributed_data_parallel",
    "convert_sync_batch_norm": "sync_batch_norm",
    "bucket_plan": "pack_all_reduce",
    "Bucket": "bucket",
    "weighted_mean": "ops",
    "ReduceOp": "calls",
    "all_gather": "calls",
    "all_gather_into": "calls",
    "all_reduce": "calls",
    "all_to_all": "calls",
    "all_to_all_into": "calls",
    "broadcast": "calls",
    "gather": "calls",
    "group": "calls",
    "irecv": "calls",
    "isend": "calls",
    "P2POp": "peer_words",
    "batch_isend_irecv": "peer_words",
    "get_backend": "peer_words",
    "monitored_barrier": "peer_words",
    "recv": "calls",
    "reduce": "calls",
    "reduce_scatter": "calls",
    "reduce_scatter_into": "calls",
    "scatter": "calls",
    "send": "calls",
    "all_gather_object": "world",
    "barrier": "world",
    "broadcast_object": "world",
    "broadcast_object_list": "world",
    "gather_object": "world",
    "get_rank": "world",
    "get_world_size": "world",
    "init_process_group": "world",
    "local_rank": "world",
    "local_world_size": "world",
    "new_group": "world",
    "scatter_object_list": "world",
}

__all__ = sorted(_PUBLIC)


if not TYPE_CHECKING:  # for a type checker the imports above are all, so that it finds a misspelt name

    def __getattr__(name: str) -> object:
        from importlib import import_module
        from types import FunctionType

        if name not in _PUBLIC:
            from dtrain.base import names

            return names.lookup("dist", name, __all__)
        # Whoever asks for anything here trains: sync-BN, packing and agreement between ranks have to be in place.
        import_module(f"{__name__}.session")
        value: object = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
        if isinstance(value, FunctionType):
            from dtrain.base.spelling import spelled

            value = spelled(value, f"dist.{name}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
