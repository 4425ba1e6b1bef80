"""How bytes get from rank to rank: one process, threads, shared memory, MPI messages, NCCL."""
