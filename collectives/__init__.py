"""How ranks talk.

The lower storey exchanges arrays: `communicator` is the contract, `self`, `thread`, `mpi` and `nccl` carry it out,
`context` finds the one to use. The upper storey trains with it. Names are imported on first use, so that importing
this package starts no MPI and loads nothing of the framework.
"""

assert __name__ == "dtrain.collectives", "import dtrain.collectives, never the bare name `collectives`"

# Public name -> module of this package that defines it.
_PUBLIC = {
    "Communicator": "communicator",
    "SelfCommunicator": "self_communicator",
    "ThreadCommunicator": "thread_communicator",
    "run_threads": "thread_communicator",
    "Work": "work",
    "init": "session",
    "is_initialized": "context",
    "get_communicator": "context",
    "rank": "context",
    "world_size": "context",
    "finalize": "context",
    "using": "context",
    "data_parallel": "data_parallel_model",
    "DataParallel": "data_parallel_model",
    "convert_sync_batch_norm": "sync_batch_norm",
    "bucket_plan": "pack_all_reduce",
    "Bucket": "bucket",
    "all_reduce": "ops",
    "all_gather": "ops",
    "reduce_scatter": "ops",
    "broadcast": "ops",
    "all_to_all": "ops",
    "weighted_mean": "ops",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    value: object = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
