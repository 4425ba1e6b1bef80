"""How fast each listed CPU kernel is: `python -m dtrain.kernels.bench --help`."""
