"""What scripts call, in PyTorch's words."""
