"""What training steps do besides convolutions, here and in PyTorch."""
