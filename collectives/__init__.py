"""How ranks talk.

The lower storey exchanges arrays: `communicator` is the contract, `programs` say what happens to arrays, `transports`
carry them out in `memory` or by messages, `world` finds the one to use. The upper storey trains with it: `ops`,
`passes`, `training`, `horovod`, and what scripts call in `public`. Names are imported on first use, so that importing
this package starts no MPI and loads nothing of the framework.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dtrain.collectives.communicator.contract import Communicator as Communicator
    from dtrain.collectives.communicator.work import Work as Work
    from dtrain.collectives.memory.bucket import Bucket as Bucket
    from dtrain.collectives.ops.collective_ops import weighted_mean as weighted_mean
    from dtrain.collectives.passes.pack_all_reduce import bucket_plan as bucket_plan
    from dtrain.collectives.public.calls import ReduceOp as ReduceOp
    from dtrain.collectives.public.calls import all_gather as all_gather
    from dtrain.collectives.public.calls import all_gather_into as all_gather_into
    from dtrain.collectives.public.calls import all_reduce as all_reduce
    from dtrain.collectives.public.calls import all_to_all as all_to_all
    from dtrain.collectives.public.calls import all_to_all_into as all_to_all_into
    from dtrain.collectives.public.calls import broadcast as broadcast
    from dtrain.collectives.public.calls import gather as gather
    from dtrain.collectives.public.calls import group as group
    from dtrain.collectives.public.calls import irecv as irecv
    from dtrain.collectives.public.calls import isend as isend
    from dtrain.collectives.public.calls import recv as recv
    from dtrain.collectives.public.calls import reduce as reduce
    from dtrain.collectives.public.calls import reduce_scatter as reduce_scatter
    from dtrain.collectives.public.calls import reduce_scatter_into as reduce_scatter_into
    from dtrain.collectives.public.calls import scatter as scatter
    from dtrain.collectives.public.calls import send as send
    from dtrain.collectives.public.peer_words import P2POp as P2POp
    from dtrain.collectives.public.peer_words import batch_isend_irecv as batch_isend_irecv
    from dtrain.collectives.public.peer_words import get_backend as get_backend
    from dtrain.collectives.public.peer_words import monitored_barrier as monitored_barrier
    from dtrain.collectives.public.session import init as init
    from dtrain.collectives.public.world_calls import all_gather_object as all_gather_object
    from dtrain.collectives.public.world_calls import barrier as barrier
    from dtrain.collectives.public.world_calls import broadcast_object as broadcast_object
    from dtrain.collectives.public.world_calls import broadcast_object_list as broadcast_object_list
    from dtrain.collectives.public.world_calls import gather_object as gather_object
    from dtrain.collectives.public.world_calls import get_rank as get_rank
    from dtrain.collectives.public.world_calls import get_world_size as get_world_size
    from dtrain.collectives.public.world_calls import init_process_group as init_process_group
    from dtrain.collectives.public.world_calls import local_rank as local_rank
    from dtrain.collectives.public.world_calls import local_world_size as local_world_size
    from dtrain.collectives.public.world_calls import new_group as new_group
    from dtrain.collectives.public.world_calls import scatter_object_list as scatter_object_list
    from dtrain.collectives.training.data_parallel_model import DataParallel as DataParallel
    from dtrain.collectives.training.data_parallel_model import data_parallel as data_parallel
    from dtrain.collectives.training.data_parallel_model import no_sync as no_sync
    from dtrain.collectives.training.distributed_data_parallel import DistributedDataParallel as DistributedDataParallel
    from dtrain.collectives.training.given_weight import batch_weight as batch_weight
    from dtrain.collectives.training.sync_batch_norm import convert_sync_batch_norm as convert_sync_batch_norm
    from dtrain.collectives.transports.self_communicator import SelfCommunicator as SelfCommunicator
    from dtrain.collectives.transports.thread_communicator import ThreadCommunicator as ThreadCommunicator
    from dtrain.collectives.transports.thread_communicator import run_threads as run_threads
    from dtrain.collectives.world.availability import is_available as is_available
    from dtrain.collectives.world.availability import is_gloo_available as is_gloo_available
    from dtrain.collectives.world.availability import is_mpi_available as is_mpi_available
    from dtrain.collectives.world.availability import is_nccl_available as is_nccl_available
    from dtrain.collectives.world.context import finalize as finalize
    from dtrain.collectives.world.context import get_communicator as get_communicator
    from dtrain.collectives.world.context import is_initialized as is_initialized
    from dtrain.collectives.world.context import rank as rank
    from dtrain.collectives.world.context import using as using
    from dtrain.collectives.world.context import world_size as world_size

assert __name__ == "dtrain.collectives", "import dtrain.collectives, never the bare name `collectives`"

# Public name -> module of this package that defines it.
_PUBLIC = {
    "Communicator": "communicator.contract",
    "SelfCommunicator": "transports.self_communicator",
    "ThreadCommunicator": "transports.thread_communicator",
    "run_threads": "transports.thread_communicator",
    "Work": "communicator.work",
    "is_available": "world.availability",
    "is_gloo_available": "world.availability",
    "is_mpi_available": "world.availability",
    "is_nccl_available": "world.availability",
    "init": "public.session",
    "is_initialized": "world.context",
    "get_communicator": "world.context",
    "rank": "world.context",
    "world_size": "world.context",
    "finalize": "world.context",
    "using": "world.context",
    "batch_weight": "training.given_weight",
    "data_parallel": "training.data_parallel_model",
    "no_sync": "training.data_parallel_model",
    "DataParallel": "training.data_parallel_model",
    "DistributedDataParallel": "training.distributed_data_parallel",
    "convert_sync_batch_norm": "training.sync_batch_norm",
    "bucket_plan": "passes.pack_all_reduce",
    "Bucket": "memory.bucket",
    "weighted_mean": "ops.collective_ops",
    "ReduceOp": "public.calls",
    "all_gather": "public.calls",
    "all_gather_into": "public.calls",
    "all_reduce": "public.calls",
    "all_to_all": "public.calls",
    "all_to_all_into": "public.calls",
    "broadcast": "public.calls",
    "gather": "public.calls",
    "group": "public.calls",
    "irecv": "public.calls",
    "isend": "public.calls",
    "P2POp": "public.peer_words",
    "batch_isend_irecv": "public.peer_words",
    "get_backend": "public.peer_words",
    "monitored_barrier": "public.peer_words",
    "recv": "public.calls",
    "reduce": "public.calls",
    "reduce_scatter": "public.calls",
    "reduce_scatter_into": "public.calls",
    "scatter": "public.calls",
    "send": "public.calls",
    "all_gather_object": "public.world_calls",
    "barrier": "public.world_calls",
    "broadcast_object": "public.world_calls",
    "broadcast_object_list": "public.world_calls",
    "gather_object": "public.world_calls",
    "get_rank": "public.world_calls",
    "get_world_size": "public.world_calls",
    "init_process_group": "public.world_calls",
    "local_rank": "public.world_calls",
    "local_world_size": "public.world_calls",
    "new_group": "public.world_calls",
    "scatter_object_list": "public.world_calls",
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
        import_module(f"{__name__}.public.session")
        value: object = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
        if isinstance(value, FunctionType):
            from dtrain.base.spelling import spelled

            value = spelled(value, f"dist.{name}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
