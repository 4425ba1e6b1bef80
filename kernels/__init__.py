"""How to compute one op on one device: arrays in, arrays out, never a Tensor.

`registry` lists every kernel and picks one; `reference/` holds the NumPy oracle of each op; `cpu/` holds the compiled
families and `cuda/` the CUDA sources. Imports only `dtrain.base`.
"""

assert __name__ == "dtrain.kernels", "import dtrain.kernels, never the bare name `kernels`"
