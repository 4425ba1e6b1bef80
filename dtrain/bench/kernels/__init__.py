"""What `dtrain bench kernels` times, and how, on a CPU and on a GPU."""
