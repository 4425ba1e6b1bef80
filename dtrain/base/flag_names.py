"""The table of flags: what torchrun, mpirun and horovodrun call what `dtrain run` does, for hints and for the docs."""

from __future__ import annotations

from collections.abc import Mapping

# Flags of those who start ranks elsewhere, and what `dtrain run` calls them; without a flag of ours, why.
FLAGS: Mapping[str, Mapping[str, str]] = {
    "torchrun": {
        "--nproc_per_node 4": "--nproc-per-node 4",
        "--nproc-per-node 4": "--nproc-per-node 4",
        "--nnodes 2": "-H a:4,b:4",
        "--node_rank": "leave it out: one command starts the ranks of all hosts",
        "--master_addr": "leave it out: the launcher finds it",
        "--master_port": "leave it out: the launcher finds it",
        "--rdzv_endpoint": "leave it out: the launcher finds it",
        "--rdzv_backend": "leave it out: the launcher finds it",
        "--standalone": "leave it out: without hosts a job stays on this one",
        "--max_restarts": "leave it out: start again from a checkpoint",
        "--log_dir DIR": "--log-dir DIR",
        "--module": "-m",
    },
    "mpirun": {
        "-np 4": "-np 4",
        "-n 4": "-n 4",
        "-H a:2,b:2": "-H a:2,b:2",
        "--host a:2,b:2": "-H a:2,b:2",
        "--hostfile FILE": "--hostfile FILE",
        "-ppn 2": "-ppn 2",
        "-x NAME": "-x NAME",
        "--bind-to core": '--mpi-args="--bind-to core"',
        "--map-by node": '--mpi-args="--map-by node"',
        "--oversubscribe": "leave it out: more ranks than cores may run",
        "--allow-run-as-root": "leave it out: it is allowed",
        "--tag-output": "--tag-output",
        "--timestamp-output": "--timestamp-output",
        "--output-filename DIR": "--output-filename DIR",
        "--mca KEY VALUE": '--mpi-args="--mca KEY VALUE"',
        "--timeout S": "--timeout S",
    },
    "horovodrun": {
        "-np 4": "-np 4",
        "-H a:2,b:2": "-H a:2,b:2",
        "--hostfile FILE": "--hostfile FILE",
        "--start-timeout S": "--start-timeout S",
        "--output-filename DIR": "--output-filename DIR",
        "--mpi-args ARGS": '--mpi-args="ARGS"',
        "--gloo": "leave it out: ranks talk through MPI, shared memory and NCCL",
        "--mpi": "leave it out: it is so",
        "--fusion-threshold-mb N": "set DTRAIN_FUSION_THRESHOLD_MB, or data_parallel(bucket_mb=N)",
        "--timeline-filename FILE": "run dtrain bench step",
        "--min-np N": "leave it out: start again from a checkpoint",
        "--check-build": "run dtrain doctor",
    },
}
