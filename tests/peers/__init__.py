"""PyTorch's own databases of samples, run here: operators, modules, optimizers and schedules (extra `peers`)."""
