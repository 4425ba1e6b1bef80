"""Models that steps are measured on, here and in PyTorch."""
