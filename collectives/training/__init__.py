"""Data parallelism: one model on all ranks, gradients averaged over samples."""
